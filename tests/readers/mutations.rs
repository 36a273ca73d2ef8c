//! Random changes to the files of a fuzz target's corpus: what the fuzzer does, in-process, of one seed and on the stable
//! compiler. `CONVNET_MUTATIONS=1000000 cargo test --release --test readers` makes more of them.

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
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
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for i in 0..seeds.len() as u64 + count {
        let mut text = match seeds.get(i as usize) {
            Some(seed) => seed.clone(),
            None => seeds.choose(&mut random).unwrap().clone(),
        };
        if i >= seeds.len() as u64 {
            for _ in 0..random.random_range(1..7) {
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

fn change(text: &mut Vec<u8>, words: &[&[u8]], seeds: &[Vec<u8>], random: &mut Xoshiro256PlusPlus) {
    let at = random.random_range(0..=text.len());
    let longest = 2 << random.random_range(0..7);
    let end = text.len().min(at + random.random_range(0..longest));
    match random.random_range(0..8) {
        // A byte is another.
        0 if at < text.len() => text[at] ^= 1 << random.random_range(0..8),
        // A part goes, comes twice, or moves.
        1 => drop(text.drain(at..end)),
        2 => {
            let part = text[at..end].to_vec();
            text.splice(end..end, part);
        }
        3 => {
            let part: Vec<u8> = text.drain(at..end).collect();
            let to = random.random_range(0..=text.len());
            text.splice(to..to, part);
        }
        // A word of the corpus in place of another, or between two.
        4 | 5 => {
            let stop = |b: &u8| b"\n=,;[]: ".contains(b);
            let to = at + text[at..].iter().position(stop).unwrap_or(text.len() - at);
            let from = text[..at].iter().rposition(stop).map_or(0, |p| p + 1);
            let from = if random.random_ratio(1, 4) { to } else { from };
            text.splice(from..to, words.choose(random).unwrap().to_vec());
        }
        // The tail of another text.
        6 => {
            let other = seeds.choose(random).unwrap();
            text.truncate(at);
            text.extend(&other[random.random_range(0..=other.len())..]);
        }
        _ => {
            let word = words.choose(random).unwrap().to_vec();
            text.splice(at..at, word);
        }
    }
}
