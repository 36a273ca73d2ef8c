//! CSV files of targets: a line that names the columns, then one an image: its path, and numbers that a net is to tell of it
//! (regression), or 0 and 1 for each thing that is to be seen in it or not (several labels). `train.csv` with `val.csv` or `test.csv`
//! beside it, or one file. Paths are relative to the file's folder. Fields may be quoted, as RFC 4180 has it, but have no line's end.

use super::index::{Index, Place, Split};
use super::pictures::Found;
use super::sources::{Find, Folder, Kind, SingleFile};
use super::{Error, Result};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of the longest line.
const LONGEST: u64 = 1 << 20;
/// How files of targets are named.
const END: &str = ".csv";

/// Files of targets, and folders of them.
pub(super) const KIND: Kind = Kind {
    name: "tables of targets",
    looks: "train.csv",
    find: Find::Pictures(find),
    file: Some(SingleFile { name: "a .csv file", ends: &[END], open: open_one }),
};

/// The files of targets of a folder, from its files' names.
fn find(folder: &Folder) -> Result<Option<Found>> {
    let of = |split| folder.part(split, &[END]);
    let Some(train) = of(Split::Train) else { return Ok(None) };
    let folder = folder.path();
    let mut found = open_one(&folder.join(train))?;
    if let Some(test) = of(Split::Validation).or(of(Split::Test)) {
        let path = folder.join(test);
        let mut index = Index::default();
        let columns = read(&path, &mut index)?;
        if columns != found.columns {
            let why = format!("its columns are {}, and those of {train} are {}", columns.join(", "), found.columns.join(", "));
            return Err(Error::List { path, line: 1, why });
        }
        found.test = Some(index);
    }
    Ok(Some(found))
}

/// One file.
fn open_one(path: &Path) -> Result<Found> {
    let mut found = Found::default();
    found.columns = read(path, &mut found.train)?;
    Ok(found)
}

/// Adds a file's images and their values; returns the names of the values.
fn read(path: &Path, index: &mut Index) -> Result<Vec<String>> {
    let failed = |e| Error::io(path, e);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::Unrecognised { path: path.to_owned() });
    }
    let folder = index.add_path(path.parent().unwrap_or(Path::new(".")).to_owned());
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let (mut line, mut columns, mut values) = (String::new(), Vec::new(), Vec::new());
    for number in 1_u64.. {
        line.clear();
        if (&mut file).take(LONGEST).read_line(&mut line).map_err(failed)? == 0 {
            break;
        }
        let wrong = |why: String| Error::List { path: path.to_owned(), line: number, why };
        if line.len() as u64 == LONGEST {
            return Err(wrong("the line is too long".to_owned()));
        }
        if line.trim().is_empty() {
            continue;
        }
        let mut fields = fields(line.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']))
            .ok_or_else(|| wrong("a quotation mark is not closed, or not at a field's ends".to_owned()))?;
        let name = fields.remove(0);
        if columns.is_empty() {
            if fields.is_empty() || fields.iter().any(|name| name.parse::<f32>().is_ok()) {
                let why = "the first line names the columns: that of the images' paths, and one for each value";
                return Err(wrong(why.to_owned()));
            }
            columns = fields;
            continue;
        }
        if fields.len() != columns.len() {
            return Err(wrong(format!("{} values for {} columns", fields.len(), columns.len())));
        }
        if name.contains('\0') {
            return Err(wrong("the path holds a zero byte".to_owned()));
        }
        values.clear();
        for (field, column) in fields.iter().zip(&columns) {
            match field.parse::<f32>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => {
                    let why = format!(
                        "'{field}' in column '{column}' is no number; for classes make a list, train.txt, of `path class`"
                    );
                    return Err(wrong(why));
                }
            }
        }
        index.push_with_values(&name, Place::Below { folder }, &values);
    }
    if columns.is_empty() { Err(Error::Empty { what: path.display().to_string() }) } else { Ok(columns) }
}

/// The fields of a line, at least one; none where a quotation mark is out of place.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.trim_start().strip_prefix('"') {
            loop {
                let (part, behind) = quoted.split_once('"')?;
                field.push_str(part);
                // Two are one of the field's own.
                match behind.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = behind.trim_start();
                        break;
                    }
                }
            }
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(rest[..end].trim());
            rest = &rest[end..];
        }
        found.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn fields_are_split_at_commas_that_are_not_quoted() {
        let split = |line: &str| fields(line).map(|fields| fields.join("|"));
        assert_eq!(split("a.png, 1.5 ,-2").as_deref(), Some("a.png|1.5|-2"));
        assert_eq!(split(r#""one, two ""x"".png" ,0"#).as_deref(), Some(r#"one, two "x".png|0"#));
        assert_eq!(split("a,").as_deref(), Some("a|"));
        assert_eq!(split(""), Some(String::new()));
        assert_eq!((split(r#""open"#), split(r#""a"b,1"#)), (None, None));
    }
}
