//! What is odd about a set as a whole, so far as it can be told without reading image files: classes without images, and images
//! that are both trained and tested on. `convnet data stats` reads all.

use super::Source;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Classes that are named.
const NAMED: usize = 5;
/// Bytes of pixels that are compared, at most: a second's work.
const MAX_BYTES: usize = 1 << 30;

/// Classes without test images, without training images, without either.
pub(super) fn of_classes(train: &dyn Source, test: &dyn Source, names: &[String]) -> Vec<String> {
    let count = |source: &dyn Source| {
        let mut counts = vec![0_usize; names.len()];
        (0..source.distinct()).for_each(|i| counts[source.label(i) as usize] += 1);
        counts
    };
    let (trained, tested) = (count(train), count(test));
    let list = |wanted: &dyn Fn(usize, usize) -> bool| {
        let found: Vec<&str> = (0..names.len()).filter(|&c| wanted(trained[c], tested[c])).map(|c| names[c].as_str()).collect();
        let more = if found.len() > NAMED { format!(" and {} more", found.len() - NAMED) } else { String::new() };
        (!found.is_empty()).then(|| format!("{}{more}", found[..found.len().min(NAMED)].join(", ")))
    };
    [
        (list(&|a, b| a > 0 && b == 0), "no test image is of class"),
        (list(&|a, b| a == 0 && b > 0), "no training image is of class"),
        (list(&|a, b| a == 0 && b == 0), "a gap in the labels: no image is of class"),
    ]
    .into_iter()
    .filter_map(|(classes, what)| classes.map(|classes| format!("{what} {classes}")))
    .collect()
}

/// Images that are in both sets: of files those in the same place, of pixels in memory the same pixels.
pub(super) fn of_images(train: &dyn Source, test: &dyn Source) -> Option<String> {
    let in_memory = !train.is_slow() && (train.len() + test.len()).checked_mul(train.shape().bytes())? <= MAX_BYTES;
    let hash = |source: &dyn Source, i: usize| {
        let mut hasher = DefaultHasher::new();
        if in_memory {
            let mut pixels = vec![0; source.shape().bytes()];
            source.read(i, &mut pixels).ok()?;
            pixels.hash(&mut hasher);
        } else {
            source.place(i)?.hash(&mut hasher);
        }
        Some(hasher.finish())
    };
    let hashes =
        |source: &dyn Source| -> Vec<Option<u64>> { (0..source.len()).into_par_iter().map(|i| hash(source, i)).collect() };
    let trained: HashMap<u64, usize> = (0..).zip(hashes(train)).filter_map(|(i, hash)| Some((hash?, i))).collect();
    let tested = hashes(test);
    let both = || (0..).zip(&tested).filter_map(|(i, hash)| Some((*trained.get(&(*hash)?)?, i)));
    let (count, (one, other)) = (both().count(), both().next()?);
    Some(format!(
        "{count} of the test images {} trained on, too: {} is {}; `convnet data stats` names them",
        if count == 1 { "is" } else { "are" },
        test.origin(other),
        train.origin(one)
    ))
}
