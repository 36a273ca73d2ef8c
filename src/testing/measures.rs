//! What predictions say: errors, each class's, which classes are taken for which, and whether probabilities are what they say.
//!
//! Calibration: predictions are sorted into bins by the probability of the class they choose; in each, the mean of that
//! probability (confidence) is compared with the part that is right (accuracy). The expected calibration error is the mean of
//! |accuracy − confidence| over the images (Guo et al. 2017, "On calibration of modern neural networks").

use super::Predictions;
use serde::Serialize;

/// Bins of a calibration.
const BINS: usize = 15;

/// What a test set's predictions say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// Images.
    pub images: u64,
    /// Mean −ln of the probability of an image's class.
    pub loss: f64,
    /// The part of images whose class is not the most probable.
    pub error: f64,
    /// The part of images whose class is not among the five most probable.
    pub error_top5: f64,
    /// For each class, what its images were taken for: a row a class.
    pub confusion: Vec<Vec<u64>>,
    /// Whether probabilities are what they say.
    pub calibration: Calibration,
}

/// Whether probabilities are what they say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error.
    pub ece: f64,
    /// Bins of equal width, from 0 to 1; those without images are left out.
    pub bins: Vec<Bin>,
}

/// Predictions of about the same confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The least confidence.
    pub from: f64,
    /// The most.
    pub to: f64,
    /// Images.
    pub images: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The part of them that is right.
    pub accuracy: f64,
}

/// What one class's images were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassMeasures {
    /// Its images.
    pub images: u64,
    /// Images that were taken for it.
    pub predicted: u64,
    /// Those of its images that were.
    pub right: u64,
}

impl Measures {
    /// Counts.
    pub fn of(p: &Predictions) -> Self {
        let mut confusion = vec![vec![0; p.classes]; p.classes];
        let (mut wrong, mut wrong5, mut loss, mut images) = (0u64, 0u64, 0.0, 0u64);
        let mut bins = [(0u64, 0.0, 0u64); BINS];
        for (probabilities, &label) in p.probabilities.chunks_exact(p.classes.max(1)).zip(&p.labels) {
            let Some((label, &own)) = usize::try_from(label).ok().and_then(|l| Some((l, probabilities.get(l)?))) else {
                continue;
            };
            images += 1;
            // Of equal ones the first is the prediction, as everywhere.
            let before = |&(j, &q): &(usize, &f32)| q > own || q == own && j < label;
            let rank = probabilities.iter().enumerate().filter(before).count();
            let best = (0..p.classes).fold(0, |best, j| if probabilities[j] > probabilities[best] { j } else { best });
            wrong += u64::from(best != label);
            wrong5 += u64::from(rank >= 5);
            loss -= f64::from(own).max(f64::MIN_POSITIVE).ln();
            confusion[label][best] += 1;
            let confidence = f64::from(probabilities[best]);
            let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
            *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + u64::from(best == label));
        }
        let part = |n: f64| n / images.max(1) as f64;
        let one = |(i, &(n, confidence, right)): (usize, &(u64, f64, u64))| Bin {
            from: i as f64 / BINS as f64,
            to: (i + 1) as f64 / BINS as f64,
            images: n,
            confidence: confidence / n as f64,
            accuracy: right as f64 / n as f64,
        };
        let bins: Vec<Bin> = bins.iter().enumerate().filter(|(_, b)| b.0 > 0).map(one).collect();
        let ece = bins.iter().map(|b| part(b.images as f64) * (b.accuracy - b.confidence).abs()).sum();
        Self {
            images,
            loss: part(loss),
            error: part(wrong as f64),
            error_top5: part(wrong5 as f64),
            confusion,
            calibration: Calibration { ece, bins },
        }
    }

    /// Each class's counts.
    pub fn classes(&self) -> Vec<ClassMeasures> {
        let one = |i: usize| ClassMeasures {
            images: self.confusion[i].iter().sum(),
            predicted: self.confusion.iter().map(|row| row[i]).sum(),
            right: self.confusion[i][i],
        };
        (0..self.confusion.len()).map(one).collect()
    }

    /// The pairs of a class and another that its images were taken for, the most frequent first, `count` at most.
    pub fn confused(&self, count: usize) -> Vec<(usize, usize, u64)> {
        let mut pairs: Vec<(usize, usize, u64)> = Vec::new();
        for (i, row) in self.confusion.iter().enumerate() {
            pairs.extend(row.iter().enumerate().filter(|&(j, &n)| i != j && n > 0).map(|(j, &n)| (i, j, n)));
        }
        pairs.sort_by_key(|&(i, j, n)| (std::cmp::Reverse(n), i, j));
        pairs.truncate(count);
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images of six classes by hand: right with 0.5, wrong with 0.5 (second), sixth of all, and a tie.
    #[test]
    fn measures_are_those_counted_by_hand() {
        let rows = [
            [0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
            [0.5, 0.3, 0.05, 0.05, 0.05, 0.05],
            [0.3, 0.25, 0.2, 0.15, 0.1, 0.0],
            [0.0, 0.4, 0.4, 0.1, 0.05, 0.05],
        ];
        let p = Predictions { classes: 6, probabilities: rows.concat(), labels: vec![0, 1, 5, 2] };
        let m = Measures::of(&p);
        assert_eq!((m.images, m.error, m.error_top5), (4, 0.75, 0.25));
        assert_eq!(m.confused(2), [(1, 0, 1), (2, 1, 1)]);
        assert_eq!(m.classes()[0], ClassMeasures { images: 1, predicted: 3, right: 1 });
        // Bins of 0.5 (half right), 0.3 and 0.4 (none right): (2·|0.5 − 0.5| + 0.3 + 0.4)/4.
        assert!((m.calibration.ece - 0.175).abs() < 1e-6, "{:?}", m.calibration);
        assert_eq!(m.calibration.bins.iter().map(|b| b.images).collect::<Vec<_>>(), [1, 1, 2]);
    }
}
