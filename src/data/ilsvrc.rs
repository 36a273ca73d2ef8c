//! ILSVRC2012 as it is downloaded (Russakovsky et al., "ImageNet large scale visual recognition challenge", 2015):
//! `ILSVRC2012_img_train.tar`, a tar file of a tar file for each class; `ILSVRC2012_img_val.tar`, whose images lie side by side; and
//! `ILSVRC2012_devkit_t12.tar.gz`, which tells the latter's classes. Nothing is unpacked.
//!
//! Classes are numbered in the order of their WordNet identifiers (`n01440764` is 0), as torchvision and everybody who sorts the class
//! folders has them; the challenge's own numbers, by which the devkit's labels are, are another order. They are named by the first
//! word of their synset, with the identifier where two have the same.

use super::index::{Index, Numbering};
use super::pictures::Found;
use super::shards::{self, Scan};
use super::sources::{Find, Folder, Kind};
use super::{Error, Result, matlab};
use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The files, and what is needed of the devkit.
const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VALIDATION: &str = "ILSVRC2012_img_val.tar";
const DEVKIT: &str = "ILSVRC2012_devkit_t12.tar.gz";
const META: &str = "meta.mat";
const LABELS: &str = "ILSVRC2012_validation_ground_truth.txt";
/// Bytes of a file of the devkit, at most.
const LARGEST: u64 = 1 << 26;

/// Folders of the downloaded files.
pub(super) const KIND: Kind = Kind { name: "ILSVRC2012", looks: TRAIN, find: Find::Pictures(find), file: None };

/// The images of a folder with these files.
fn find(folder: &Folder) -> Result<Option<Found>> {
    if !folder.has(TRAIN) {
        return Ok(None);
    }
    let path = folder.path();
    let mut found = Found::default();
    let devkit = if folder.has(DEVKIT) { Some(Devkit::read(&path.join(DEVKIT))?) } else { None };
    if let Some(devkit) = &devkit {
        let mut classes: Vec<&String> = devkit.classes.values().collect();
        classes.sort();
        classes.into_iter().for_each(|class| {
            found.classes.number(class);
        });
        found.numbering = Numbering::Given;
    }
    Scan::new(&mut found.train, &mut found.classes, &mut found.numbering).tar(&path.join(TRAIN))?;
    if !folder.has(VALIDATION) {
        return Ok(Some(found));
    }
    let Some(devkit) = devkit else {
        return Err(Error::Missing {
            path: path.join(DEVKIT),
            kind: "ILSVRC2012",
            needs: "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, which tells the classes of \
                    the validation images",
        });
    };
    let class_of = |name: &str| devkit.class_of(name).cloned();
    let mut index = Index::default();
    let mut scan = Scan::new(&mut index, &mut found.classes, &mut found.numbering);
    scan.class_of = &class_of;
    scan.tar(&path.join(VALIDATION))?;
    found.test = Some(index);
    found.names = devkit.names;
    Ok(Some(found))
}

/// What the devkit tells.
struct Devkit {
    /// WordNet identifiers by the challenge's numbers, of the classes that have images.
    classes: HashMap<u32, String>,
    /// A word for each WordNet identifier.
    names: HashMap<String, String>,
    /// The challenge's numbers of the validation images, in their order.
    labels: Vec<u32>,
}

impl Devkit {
    fn read(path: &Path) -> Result<Self> {
        let failed = |source| Error::Gzip { path: path.to_owned(), source };
        let wrong = |why: &str| Error::Shard { path: path.to_owned(), why: why.to_owned() };
        let file = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
        let mut archive = tar::Archive::new(GzDecoder::new(file));
        let (mut meta, mut labels) = (None, None);
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let wanted = match shards::base(&name) {
                META => &mut meta,
                LABELS => &mut labels,
                _ => continue,
            };
            if entry.size() > LARGEST {
                return Err(wrong(&format!("{name} is too large")));
            }
            let mut bytes = Vec::new();
            (&mut entry).take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
            *wanted = Some(bytes);
        }
        let meta = meta.ok_or_else(|| wrong("it has no meta.mat"))?;
        let labels = labels.ok_or_else(|| wrong("it has no ILSVRC2012_validation_ground_truth.txt"))?;
        let mut meta = matlab::read(&meta).map_err(|why| wrong(&format!("{META}: {why}")))?;
        let Some(matlab::Value::Structs(synsets)) = meta.remove("synsets") else {
            return Err(wrong("its meta.mat has no synsets"));
        };
        let (mut classes, mut names) = (HashMap::new(), HashMap::new());
        for synset in &synsets {
            let number = |field: &str| synset.get(field).and_then(matlab::Value::number);
            let text = |field: &str| match synset.get(field) {
                Some(matlab::Value::Text(text)) => Some(text.as_str()),
                _ => None,
            };
            let (Some(id), Some(children), Some(wnid)) = (number("ILSVRC2012_ID"), number("num_children"), text("WNID")) else {
                return Err(wrong("a synset of its meta.mat has no ILSVRC2012_ID, num_children or WNID"));
            };
            // Synsets that have others below them are no classes.
            if children == 0.0 {
                classes.insert(id as u32, wnid.to_owned());
                let word = text("words").and_then(|words| words.split(',').next()).unwrap_or(wnid);
                names.insert(wnid.to_owned(), word.trim().to_owned());
            }
        }
        // A bird and a machine are called crane, and two garments maillot.
        let mut count = HashMap::new();
        names.values().for_each(|word: &String| *count.entry(word.clone()).or_insert(0) += 1);
        names.iter_mut().filter(|(_, word)| count[*word] > 1).for_each(|(wnid, word)| *word = format!("{word} {wnid}"));
        let labels = String::from_utf8_lossy(&labels).split_whitespace().map(|label| label.parse().ok()).collect::<Option<_>>();
        let labels = labels.ok_or_else(|| wrong("its validation labels are no numbers"))?;
        Ok(Self { classes, names, labels })
    }

    /// The WordNet identifier of `ILSVRC2012_val_00000001.JPEG`.
    fn class_of(&self, name: &str) -> Option<&String> {
        let number: usize = shards::base(name).strip_prefix("ILSVRC2012_val_")?.split('.').next()?.parse().ok()?;
        self.classes.get(self.labels.get(number.checked_sub(1)?)?)
    }
}
