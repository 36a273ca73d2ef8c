//! Good and bad signs of training, each in a sentence, with what to do about the bad ones. They are those of Ranzato's
//! tutorial at CVPR 2014: the loss falls, the test follows it; updates are about a thousandth of the weights; filters have
//! structure; hidden units are sparse, differ, and take notice of the input. Where it gives no number, the bound is ours, at a
//! constant here.

use super::filters::Filters;
use super::study::Study;
use super::units::{Found, Kind};
use crate::train::{Line, Split};

/// Mean |update| over mean |w|: about 0.001 is healthy, and beyond these it is told.
const HEALTHY_RATIO: (f64, f64) = (1e-5, 1e-2);
/// A test loss so much above its least has risen.
const RISEN: f64 = 1.15;
/// A test error so much above that of training is a gap; where the latter is less than half, too.
const GAP: f64 = 0.03;
/// The rate is said to fall where it ends below this part of its largest.
const FALLEN_RATE: f64 = 0.1;
/// Mean |correlation| of hidden units, above which they do much the same.
const CORRELATED: f64 = 0.5;
/// Neighbouring weights of a filter with structure are correlated by more than this.
const STRUCTURE: f64 = 0.15;

/// How good a sign it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth a look.
    Look,
    /// Something is wrong.
    Bad,
}

impl Level {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Look => "look",
            Self::Bad => "bad",
        }
    }
}

/// A sign: what it is about, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    /// How good it is.
    pub level: Level,
    /// What was looked at.
    pub about: String,
    /// What was seen, and what to do where it is not good.
    pub says: String,
}

impl Sign {
    /// A sign.
    pub fn new(level: Level, about: impl Into<String>, says: impl Into<String>) -> Self {
        Self { level, about: about.into(), says: says.into() }
    }
}

fn percent(v: f64) -> String {
    format!("{:.1} %", 100.0 * v)
}

/// The train lines of the last tenth of a run: their mean loss and error.
fn lately(lines: &[Line]) -> Option<(f64, f64)> {
    let train: Vec<&Line> = lines.iter().filter(|l| l.split == Split::Train).collect();
    let last = &train[train.len() - train.len().div_ceil(10).min(train.len())..];
    let mean = |of: fn(&Line) -> f64| last.iter().map(|l| of(l)).sum::<f64>() / last.len() as f64;
    (!last.is_empty()).then(|| (mean(|l| l.loss), mean(|l| l.error)))
}

/// The first train line, where there are others to compare it with.
fn first_of_several(lines: &[Line]) -> Option<&Line> {
    let mut train = lines.iter().filter(|l| l.split == Split::Train);
    let first = train.next()?;
    train.next().map(|_| first)
}

/// Of the loss: whether it fell.
pub fn of_loss(lines: &[Line]) -> Option<Sign> {
    let first = first_of_several(lines)?.loss;
    let (last, _) = lately(lines)?;
    let what = format!("the training loss went from {first:.3} to {last:.3}");
    Some(if last > first {
        let help = "a rate that is too large makes it rise: halve it, or let `convnet find-lr` find one; and `convnet check` tells \
                    whether the gradients are right";
        Sign::new(Level::Bad, "loss", format!("{what}: {help}"))
    } else if last > 0.9 * first {
        let help = "it hardly learns: try a larger rate (`convnet find-lr`), or larger initial weights";
        Sign::new(Level::Bad, "loss", format!("{what}: {help}"))
    } else {
        Sign::new(Level::Good, "loss", what)
    })
}

/// Of the gap between training and test.
pub fn of_gap(lines: &[Line]) -> Option<Sign> {
    let test = lines.iter().rfind(|l| l.split == Split::Test)?;
    let (_, train) = lately(lines)?;
    if test.error == 0.0 && train == 0.0 {
        return None;
    }
    let what = format!("the error is {} in training and {} in the test", percent(train), percent(test.error));
    let gap = test.error - train;
    let level = if gap > GAP && train < 0.5 * test.error { Level::Look } else { Level::Good };
    let says = if level == Level::Look {
        format!("{what}: it overfits. More data or augmentation, dropout, or more weight decay closes the gap")
    } else if train > 0.1 && gap < GAP {
        format!("{what}: there is no gap, so a larger net, less regularisation or longer training may lower both")
    } else {
        what
    };
    Some(Sign::new(level, "training and test", says))
}

/// Of the tests, one after the other: whether the loss has risen again, and whether the error was falling still.
pub fn of_tests(lines: &[Line]) -> Option<Sign> {
    let tests: Vec<&Line> = lines.iter().filter(|l| l.split == Split::Test).collect();
    let last = tests.last()?;
    let best = tests.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    if last.loss > RISEN * best.loss {
        let says = format!(
            "the test loss rose from {:.3} in epoch {:.1} to {:.3}: the net is sure of what it has wrong. Dropout, weight decay or \
             augmentation help, or stopping there",
            best.loss, best.epoch, last.loss
        );
        return Some(Sign::new(Level::Look, "tests", says));
    }
    let before = tests.iter().rfind(|l| l.epoch <= 0.8 * last.epoch)?;
    if last.error < 0.95 * before.error {
        let says = format!(
            "the test error was still falling, from {} to {} in the last fifth: training for longer should help",
            percent(before.error),
            percent(last.error)
        );
        return Some(Sign::new(Level::Look, "tests", says));
    }
    Some(Sign::new(Level::Good, "tests", "the test loss has come down and stays there"))
}

/// Of the learning rate: whether it falls towards the end.
pub fn of_rate(lines: &[Line]) -> Option<Sign> {
    let rates = || lines.iter().filter(|l| l.split == Split::Train).map(|l| l.learning_rate);
    first_of_several(lines)?;
    let (largest, last) = (rates().fold(0.0, f64::max), rates().next_back()?);
    let word = |v: f64| super::chart::short(v);
    Some(if last > FALLEN_RATE * largest {
        let says = format!(
            "the learning rate ends at {}, its largest was {}: a schedule that lowers it to a hundredth or less towards the end \
             (cosine, step) nearly always lowers the error",
            word(last),
            word(largest)
        );
        Sign::new(Level::Look, "learning rate", says)
    } else {
        Sign::new(Level::Good, "learning rate", format!("it falls from {} to {}", word(largest), word(last)))
    })
}

/// Of each layer's updates, against its weights: the median of all lines that have them.
pub fn of_updates(lines: &[Line]) -> Option<Sign> {
    let names: std::collections::BTreeSet<&String> =
        lines.iter().flat_map(|l| l.weights.keys()).filter(|n| is_weights(n)).collect();
    let median = |name: &str| {
        let mut all: Vec<f64> = lines.iter().filter_map(|l| Some(l.weights.get(name)?.ratio)).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    // A frozen layer has no updates.
    let ratios: Vec<(&String, f64)> = names.into_iter().map(|n| (n, median(n))).filter(|(_, r)| *r > 0.0).collect();
    let (least, most) = (ratios.iter().min_by(|a, b| a.1.total_cmp(&b.1))?, ratios.iter().max_by(|a, b| a.1.total_cmp(&b.1))?);
    let says = |(name, r): &(&String, f64), help: &str| format!("an update of {name} is {r:.0e} of it{help}");
    Some(if most.1 > HEALTHY_RATIO.1 {
        Sign::new(Level::Look, "updates", says(most, ", about 1e-3 is healthy: the learning rate is too large for this layer"))
    } else if least.1 < HEALTHY_RATIO.0 {
        let help = ", about 1e-3 is healthy: the layer hardly learns; raise its rate, or look whether gradients reach it";
        Sign::new(Level::Look, "updates", says(least, help))
    } else {
        let says = format!("updates are {:.0e} to {:.0e} of the weights; about 1e-3 is healthy", least.1, most.1);
        Sign::new(Level::Good, "updates", says)
    })
}

/// Whether a parameter is weights, not biases: `conv1.weights`, `fc.weights1`.
pub fn is_weights(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|n| n.starts_with("weights"))
}

/// Of a layer's filters, where they are large enough to have structure.
pub fn of_filters(f: &Filters) -> Option<Sign> {
    let [k, r, s, c] = f.shape;
    if k * r * s * c == 0 || f.values.len() != k * r * s * c {
        return None;
    }
    let norms: Vec<f64> =
        f.values.chunks_exact(r * s * c).map(|w| w.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt()).collect();
    let most = norms.iter().copied().fold(0.0, f64::max);
    let dead = norms.iter().filter(|n| **n < 0.02 * most).count();
    if dead * 10 > k {
        let says = format!("{dead} of {k} filters have shrunk to nothing: less weight decay, or fewer filters");
        return Some(Sign::new(Level::Look, f.name, says));
    }
    if r.min(s) < 5 || !f.colours && c > 1 {
        return None;
    }
    let smooth = smoothness(f);
    Some(if smooth < STRUCTURE {
        let says = format!(
            "its filters look like noise (neighbouring weights are correlated by {smooth:.2}): train longer, with more weight decay \
             or on more images"
        );
        Sign::new(Level::Look, f.name, says)
    } else {
        Sign::new(Level::Good, f.name, format!("its filters have structure (neighbouring weights are correlated by {smooth:.2})"))
    })
}

/// The mean correlation of a weight and its right neighbour, over the filters and channels that vary.
fn smoothness(f: &Filters) -> f64 {
    let [k, r, s, c] = f.shape;
    let (mut sum, mut counted) = (0.0, 0usize);
    for filter in 0..k {
        for channel in 0..c {
            let at = |i: usize, j: usize| f64::from(f.values[((filter * r + i) * s + j) * c + channel]);
            let all = (0..r).flat_map(|i| (0..s).map(move |j| (i, j)));
            let mean = all.clone().map(|(i, j)| at(i, j)).sum::<f64>() / (r * s) as f64;
            let variance = all.map(|(i, j)| (at(i, j) - mean).powi(2)).sum::<f64>() / (r * s) as f64;
            let pairs = (0..r).flat_map(|i| (1..s).map(move |j| (i, j)));
            let product = pairs.map(|(i, j)| (at(i, j) - mean) * (at(i, j - 1) - mean)).sum::<f64>() / (r * (s - 1)) as f64;
            if variance > 0.0 {
                sum += product / variance;
                counted += 1;
            }
        }
    }
    sum / counted.max(1) as f64
}

/// Of a layer's hidden units.
pub fn of_units(u: &Found) -> Sign {
    let sign = |level, says: String| Sign::new(level, u.name.clone(), says);
    let many = |n: usize| n * 10 > u.units;
    if many(u.dead) {
        let level = if u.dead * 2 > u.units { Level::Bad } else { Level::Look };
        let help = "a rate that was too large at first does that, or biases that start too low";
        return sign(level, format!("{} of {} units are never on: {help}", u.dead, u.units));
    }
    if many(u.constant) {
        let says =
            format!("{} of {} units take no notice of the input: their value is the same for each image", u.constant, u.units);
        return sign(Level::Bad, says);
    }
    if matches!(u.kind, Kind::Bounded(..)) && u.off > 0.5 {
        let says =
            format!("{} of its values are saturated: no gradient passes there; start with smaller weights", percent(u.off));
        return sign(Level::Look, says);
    }
    if u.correlation > CORRELATED || many(u.twins) && u.compared > 2 {
        let says = format!(
            "units are strongly correlated ({:.2} on average, {} of {} have a twin): they do much the same; fewer would do, or \
             dropout makes them differ",
            u.correlation, u.twins, u.compared
        );
        return sign(Level::Look, says);
    }
    if u.kind == Kind::Rectified && u.off < 0.05 {
        let says = format!("units are on for nearly everything ({} off): the layer is close to linear", percent(u.off));
        return sign(Level::Look, says);
    }
    let sparse = match u.kind {
        Kind::Rectified => format!("{} of its values are off, ", percent(u.off)),
        Kind::Bounded(..) => format!("{} of its values are saturated, ", percent(u.off)),
        Kind::Other => String::new(),
    };
    sign(Level::Good, format!("{sparse}units differ (correlated by {:.2} on average)", u.correlation))
}

/// Of the predictions: whether they are better than chance, and of all classes.
pub fn of_predictions(study: &Study, classes: &[String]) -> Option<Sign> {
    let (wrong, n) = (study.wrong?, classes.len());
    if study.images == 0 || n < 2 {
        return None;
    }
    let error = wrong as f64 / study.images as f64;
    let chance = 1.0 - 1.0 / n as f64;
    let predicted: Vec<u64> = (0..n.min(10_000)).map(|c| study.confusion.predicted(c)).collect();
    let most = (0..predicted.len()).max_by_key(|&c| predicted[c])?;
    let share = predicted[most] as f64 / study.images as f64;
    let never = predicted.iter().filter(|p| **p == 0).count();
    let about = "predictions";
    Some(if n > 2 && share > 0.5 + 1.0 / n as f64 {
        let says = format!("{} of all images are taken for '{}': the net has collapsed onto it", percent(share), classes[most]);
        Sign::new(Level::Bad, about, says)
    } else if error > 0.95 * chance {
        let says = format!(
            "{} of {} test images are wrong, by chance {} would be: where the loss fell all the same, the cost does not fit the task, \
             or labels and images do not belong together",
            wrong,
            study.images,
            percent(chance)
        );
        Sign::new(Level::Bad, about, says)
    } else if never > 0 && study.images > 20 * n {
        let says = format!("{never} of {n} classes are never predicted: look whether there are training images of them");
        Sign::new(Level::Look, about, says)
    } else {
        Sign::new(
            Level::Good,
            about,
            format!("{} of test images are right, by chance {} would be", percent(1.0 - error), percent(1.0 - chance)),
        )
    })
}

/// All of them, the worst first.
pub fn all(lines: &[Line], filters: &[Filters], study: Option<&Study>, classes: &[String]) -> Vec<Sign> {
    let curves = [of_loss, of_gap, of_tests, of_rate, of_updates].map(|of| of(lines));
    let mut signs: Vec<Sign> = curves.into_iter().flatten().chain(filters.iter().filter_map(of_filters)).collect();
    if let Some(study) = study {
        signs.extend(of_predictions(study, classes));
        signs.extend(study.units.iter().map(of_units));
    }
    signs.sort_by_key(|s| std::cmp::Reverse(s.level));
    signs
}
