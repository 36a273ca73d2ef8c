//! Random changes to the files of a fuzz target's corpus: what the fuzzer does, in-process, of one seed and on the stable
//! compiler. `CONVNET_MUTATIONS=1000000 cargo test --release --test readers` makes more of them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Texts that are made of a corpus.
const COUNT: u64 = 30_000;

/// Hands `check`, which says whether a text read, each file of the corpus `fuzz/corpus/NAME`, then so many texts made of them.
/// Shows the one that it panics at. The files read, and of the others a good part does and a good part does not.
pub fn mutate(name: &str, check: impl Fn(&str) -> bool) {
    let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "no corpus for {name}");
    let count = std::env::var("CONVNET_MUTATIONS").map_or(COUNT, |n| n.parse().expect("CONVNET_MUTATIONS is a number"));
    let mut words: Vec<&[u8]> = seeds.iter().flat_map(|s| s.split(|b| b"\n=,;[]: ".contains(b))).collect();
    words.extend(seeds.iter().flat_map(|s| s.split_inclusive(|&b| b == b'\n')));
    words.extend(EXTREMES.iter().map(|w| w.as_bytes()));
    let mut read = 0;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for i in 0..seeds.len() as u64 + count {
        let mut text = match seeds.get(i as usize) {
            Some(seed) => seed.clone(),
            None => random.of(&seeds).clone(),
        };
        if i >= seeds.len() as u64 {
            for _ in 0..1 + random.below(6) {
                change(&mut text, &words, &seeds, &mut random);
            }
        }
        let text = String::from_utf8_lossy(&text);
        match catch_unwind(AssertUnwindSafe(|| check(&text))) {
            Ok(true) => read += 1,
            Ok(false) => assert!(i >= seeds.len() as u64, "{} does not read", paths[i as usize].display()),
            Err(panic) => {
                eprintln!("text {i} of {name}, between the lines:\n--------\n{text}\n--------");
                resume_unwind(panic);
            }
        }
    }
    assert!((count / 50..count - count / 50).contains(&read), "{read} of {count} texts read");
}

/// Values at the ends of what numbers and names can be.
const EXTREMES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "1048576",
    "1048577",
    "0.0",
    "-0.0",
    "1e308",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "\"",
    "''",
    "\u{1b}[2J",
    "é",
    "\r\n",
    "%(a)s",
];

fn change(text: &mut Vec<u8>, words: &[&[u8]], seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(text.len() as u64 + 1) as usize;
    let longest = 2 << random.below(7);
    let end = text.len().min(at + random.below(longest) as usize);
    match random.below(8) {
        // A byte is another.
        0 if at < text.len() => text[at] ^= 1 << random.below(8),
        // A part goes, comes twice, or moves.
        1 => drop(text.drain(at..end)),
        2 => {
            let part = text[at..end].to_vec();
            text.splice(end..end, part);
        }
        3 => {
            let part: Vec<u8> = text.drain(at..end).collect();
            let to = random.below(text.len() as u64 + 1) as usize;
            text.splice(to..to, part);
        }
        // A word of the corpus in place of another, or between two.
        4 | 5 => {
            let stop = |b: &u8| b"\n=,;[]: ".contains(b);
            let to = at + text[at..].iter().position(stop).unwrap_or(text.len() - at);
            let from = text[..at].iter().rposition(stop).map_or(0, |p| p + 1);
            let from = if random.below(4) == 0 { to } else { from };
            text.splice(from..to, random.of(words).to_vec());
        }
        // The tail of another text.
        6 => {
            let other = random.of(seeds);
            text.truncate(at);
            text.extend(&other[random.below(other.len() as u64 + 1) as usize..]);
        }
        _ => {
            let word = random.of(words).to_vec();
            text.splice(at..at, word);
        }
    }
}

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
