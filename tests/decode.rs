//! Image files of every kind against Pillow's pixels (tests/golden/pictures, by make_pictures.py beside it), and what is wrong
//! with hostile ones.

use convnet::data::ImageShape;
use convnet::data::decode::{At, Part, Picture, decode, is_named_as_one};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::fs;

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pictures");

fn file(name: &str) -> Vec<u8> {
    fs::read(format!("{PICTURES}/{name}")).unwrap()
}

/// What Pillow makes of each file: name, shape, pixels.
fn expected() -> Vec<(String, ImageShape, Vec<u8>)> {
    let mut pixels = &file("expected.bin")[..];
    let list = String::from_utf8(file("list.txt")).unwrap();
    let one = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let shape = ImageShape::new(words[2].parse().unwrap(), words[1].parse().unwrap(), 3);
        let (own, rest) = pixels.split_at(shape.bytes());
        pixels = rest;
        (words[0].to_owned(), shape, own.to_vec())
    };
    let all: Vec<_> = list.lines().skip(1).map(one).collect();
    assert!(pixels.is_empty());
    all
}

/// Mean |difference|, and the largest.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let each = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (each().map(f64::from).sum::<f64>() / a.len() as f64, each().max().unwrap())
}

/// Every file has Pillow's shape and its pixels: those without loss exactly (16 bits rounded rather than cut: within 1), JPEG
/// and lossy WebP within half a level on average and 8 at most.
#[test]
fn pixels_are_pillows() {
    for (name, shape, pixels) in expected().iter().filter(|(name, ..)| name != "resized") {
        let found = decode(&file(name), Some(3)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(found.shape, *shape, "{name}");
        let (mean, most) = difference(&found.pixels, pixels);
        let bounds = match name.rsplit_once('.').unwrap().1 {
            "jpg" => (0.5, 8),
            _ if name == "lossy.webp" => (0.5, 8),
            _ if name == "grey-16.png" => (1.0, 1),
            _ => (0.0, 0),
        };
        assert!(mean <= bounds.0 && most <= bounds.1, "{name}: {mean:.3} on average, {most} at most; bounds {bounds:?}");
    }
}

/// The files' own channels: 1 where they are grey, else 3; grey of colour is 0.299 R + 0.587 G + 0.114 B within a level on
/// average; alpha is there where it is asked for.
#[test]
fn channels_are_those_asked_for() {
    for (name, _, pixels) in expected().iter().filter(|(name, ..)| name != "resized") {
        let grey = ["grey.jpg", "grey-progressive.jpg", "grey.png", "grey-16.png", "one-bit.png"].contains(&name.as_str());
        assert_eq!(decode(&file(name), None).unwrap().shape.c, if grey { 1 } else { 3 }, "{name}");
        let weights = [0.299, 0.587, 0.114];
        let luma = |p: &[u8]| p.iter().zip(weights).map(|(&x, w)| f64::from(x) * w).sum::<f64>().round() as u8;
        let expected: Vec<u8> = pixels.chunks_exact(3).map(luma).collect();
        let (mean, most) = difference(&decode(&file(name), Some(1)).unwrap().pixels, &expected);
        assert!(mean <= 1.0 && most <= 8, "{name}: {mean:.3} on average, {most} at most");
        for (c, opaque) in [(2, name != "alpha.png"), (4, name != "alpha.png")] {
            let found = decode(&file(name), Some(c)).unwrap();
            assert_eq!(found.shape.c, c);
            let alpha: Vec<u8> = found.pixels.iter().skip(c - 1).step_by(c).copied().collect();
            assert_eq!(alpha.iter().all(|&a| a == 255), opaque, "{name}");
        }
    }
}

/// The middle of a picture whose shorter side is resized, as Pillow's `BILINEAR` with a box makes it, within 1 level.
#[test]
fn resizing_is_pillows() {
    let (_, shape, pixels) = expected().pop().unwrap();
    let picture = decode(&file("rgb.png"), Some(3)).unwrap();
    let mut found = vec![0; shape.bytes()];
    picture.fit(Part::of(picture.shape.w, picture.shape.h, Some(20), shape, At::Centre), shape, &mut found);
    let (mean, most) = difference(&found, &pixels);
    assert!(mean < 0.3 && most <= 1, "{mean:.3} on average, {most} at most");
}

/// A part of the size of its image is copied as it is; random ones reach every whole place, the first and the last included.
#[test]
fn parts_lie_in_whole_pixels() {
    let shape = ImageShape::new(6, 9, 1);
    let picture = Picture { shape, pixels: (0..54).collect() };
    let to = ImageShape::new(6, 6, 1);
    let mut seen = Vec::new();
    for share in [0.0, 0.24, 0.26, 0.5, 0.76, 0.999_999] {
        let mut found = vec![0; 36];
        picture.fit(Part::of(9, 6, Some(6), to, At::Random(share, 0.9)), to, &mut found);
        seen.push(found[0]);
        let rows: Vec<u8> = (0..6).flat_map(|y| (0..6).map(move |x| y * 9 + x)).map(|p| p + found[0]).collect();
        assert_eq!(found, rows);
    }
    assert_eq!(seen, [0, 0, 1, 2, 3, 3]);
    let centre = Part::of(9, 6, Some(6), to, At::Centre);
    assert_eq!(centre, Part { left: 1.0, top: 0.0, width: 6.0, height: 6.0 });
    // Without a size the picture covers the image.
    assert_eq!(
        Part::of(100, 50, None, ImageShape::new(25, 25, 3), At::Centre),
        Part { left: 24.0, top: 0.0, width: 50.0, height: 50.0 }
    );
}

/// A part lies in its picture, whatever the extents.
#[test]
fn parts_never_leave_their_picture() {
    for (w, h) in [(1, 1), (1, 1000), (999, 7), (500, 375), (32_768, 1), (333, 334)] {
        for (size, to) in [(None, (224, 224)), (Some(256), (224, 224)), (Some(10), (32, 17)), (Some(3), (1, 1))] {
            for at in [At::Centre, At::Random(0.0, 0.0), At::Random(0.999_999, 0.999_999), At::Random(0.3, 0.7)] {
                let to = ImageShape::new(to.0, to.1, 3);
                let Part { left, top, width, height } = Part::of(w, h, size, to, at);
                let holds = left >= 0.0 && top >= 0.0 && width > 0.0 && height > 0.0;
                assert!(
                    holds && left + width <= w as f64 + 1e-9 && top + height <= h as f64 + 1e-9,
                    "{w}×{h} {size:?} {to} {at:?}"
                );
                let picture = Picture { shape: ImageShape::new(h, w, 3), pixels: vec![7; w * h * 3] };
                let mut pixels = vec![0; to.bytes()];
                picture.fit(Part::of(w, h, size, to, at), to, &mut pixels);
                assert!(pixels.iter().all(|&x| x == 7), "{w}×{h} {size:?} {to} {at:?}");
            }
        }
    }
}

/// A baseline JPEG's header changed to claim another size.
fn claiming(w: u16, h: u16) -> Vec<u8> {
    let mut bytes = file("baseline.jpg");
    let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap() + 5;
    bytes[at..at + 2].copy_from_slice(&h.to_be_bytes());
    bytes[at + 2..at + 4].copy_from_slice(&w.to_be_bytes());
    bytes
}

/// A PNG of `side`² grey pixels of 0, which deflate makes a thousand times smaller.
fn bomb(side: u32) -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let row = vec![0; side as usize + 1];
    // A few rows are enough to show that the header is not trusted.
    (0..64).for_each(|_| packed.write_all(&row).unwrap());
    let chunk = |name: &[u8], body: &[u8]| {
        let named = [name, body].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&named);
        [&(body.len() as u32).to_be_bytes()[..], &named, &crc.sum().to_be_bytes()].concat()
    };
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let body = packed.finish().unwrap();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &body), &chunk(b"IEND", &[])].concat()
}

/// What cannot be read says why, and reserves no memory for what it claims.
#[test]
fn hostile_files_are_refused() {
    let whole = file("subsampled.jpg");
    let thumbnail = [&whole[..2], &[0xff, 0xe1, 0, 12], b"Exif\0\0\xff\xd9\0\0", &whole[2..whole.len() / 2]].concat();
    let cases = [
        (Vec::new(), "the file is empty"),
        (b"<html>404</html>".to_vec(), "it is no JPEG"),
        (b"II*\0 a TIFF that is known but not read".to_vec(), "it is no JPEG"),
        (whole[..whole.len() / 2].to_vec(), "cut off"),
        (whole[..whole.len() - 2].to_vec(), "cut off"),
        (thumbnail, "cut off"),
        (whole[..20].to_vec(), "cut off"),
        (claiming(60_000, 60_000), "JPEG"),
        (claiming(30_000, 30_000), "it claims 30000×30000 pixels"),
        (claiming(0, 30), "JPEG"),
        (bomb(60_000), "limit"),
        (bomb(30_000), "it claims 30000×30000 pixels"),
        (file("rgb.png")[..100].to_vec(), ""),
        (file("lossy.webp")[..60].to_vec(), ""),
        (file("frames.gif")[..60].to_vec(), ""),
        (file("rgb.bmp")[..60].to_vec(), ""),
    ];
    for (bytes, part) in cases {
        let error = decode(&bytes, Some(3)).expect_err(part);
        assert!(error.to_lowercase().contains(&part.to_lowercase()) && error.len() < 300, "{error:?} does not tell: {part}");
    }
}

/// Whatever bytes of a file are changed, it decodes or an error says why not: never a panic.
#[test]
fn changed_files_never_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for (name, ..) in expected().iter().filter(|(name, ..)| name != "resized") {
        let sound = file(name);
        for _ in 0..40 {
            let mut bytes = sound.clone();
            for _ in 0..random.random_range(1..5) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            if random.random_ratio(1, 4) {
                bytes.truncate(random.random_range(0..bytes.len()));
            }
            if let Ok(picture) = decode(&bytes, Some(3)) {
                assert_eq!(picture.pixels.len(), picture.shape.bytes(), "{name}");
            }
        }
    }
}

/// Names of images, by their ends, of any case.
#[test]
fn names_tell_images() {
    for name in ["a.jpg", "a.JPEG", "x/b.Png", "c.webp", "d.bmp", "e.gif", ".jpg", "f.tar.jpe"] {
        assert!(is_named_as_one(name), "{name}");
    }
    for name in ["a.txt", "jpg", "a.jpg.part", "", "a.tiff", "a."] {
        assert!(!is_named_as_one(name), "{name}");
    }
}
