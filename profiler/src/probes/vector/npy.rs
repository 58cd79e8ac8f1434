//! Data sets in NumPy's format:
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use thiserror::Error;

/// Longest header that is read, bytes; NumPy itself writes 128.
const LONGEST_HEADER: usize = 64 << 10;
/// Longest row that is read: as `--dimensions`.
const MOST_DIMENSIONS: usize = 65_536;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

#[derive(Debug, Error)]
pub enum NpyError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a .npy file")]
    Magic,
    #[error("version {0}.{1} of the format is not known (1.0 to 3.0 are)")]
    Version(u8, u8),
    #[error("its header is longer than {LONGEST_HEADER} bytes")]
    Header,
    #[error("its header has no usable {0}")]
    Field(&'static str),
    #[error("its values are of type {0}; <f4 and <f8 can be read")]
    Type(String),
    #[error("its values are in Fortran's order; save numpy.ascontiguousarray(…) of it")]
    Order,
    #[error("it has {0} dimensions, and not rows of vectors")]
    Shape(usize),
    #[error("its rows have {0} values, more than {MOST_DIMENSIONS}")]
    Dimensions(usize),
    #[error("its header says {expected} bytes of values, and there are {found}")]
    Length { expected: u128, found: u64 },
    #[error("row {0} has a value that is not a finite number")]
    NotFinite(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F4,
    F8,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F8 => 8,
        }
    }
}

/// Rows of numbers in a file, of which only those asked for are in memory.
#[derive(Debug)]
pub struct Npy {
    file: File,
    start: u64,
    kind: Kind,
    rows: u64,
    dimensions: usize,
}

impl Npy {
    /// # Errors
    /// Why it cannot be read.
    pub fn open(path: &Path) -> Result<Self, NpyError> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file").into());
        }
        let mut start = [0; 8];
        read_exactly(&mut file, &mut start)?;
        if &start[..6] != MAGIC {
            return Err(NpyError::Magic);
        }
        let length_bytes = match (start[6], start[7]) {
            (1, 0) => 2,
            (2 | 3, 0) => 4,
            (major, minor) => return Err(NpyError::Version(major, minor)),
        };
        let mut length = [0; 4];
        read_exactly(&mut file, &mut length[..length_bytes])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST_HEADER {
            return Err(NpyError::Header);
        }
        let mut header = vec![0; length];
        read_exactly(&mut file, &mut header)?;
        let header = str::from_utf8(&header).map_err(|_| NpyError::Field("text"))?;
        let (kind, rows, dimensions) = parse(header)?;
        let start = (8 + length_bytes + length) as u64;
        let found = file.metadata()?.len().saturating_sub(start);
        let values = u128::from(rows).saturating_mul(dimensions as u128);
        let expected = values.saturating_mul(kind.bytes() as u128);
        if u128::from(found) != expected {
            return Err(NpyError::Length { expected, found });
        }
        Ok(Self {
            file,
            start,
            kind,
            rows,
            dimensions,
        })
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The values of some rows, in single precision.
    ///
    /// # Errors
    /// When they cannot be read, or are not numbers.
    pub fn read(&self, first: u64, count: usize) -> Result<Vec<f32>, NpyError> {
        let width = self.kind.bytes();
        let row_bytes = self.dimensions * width;
        let mut bytes = vec![0; row_bytes * count];
        self.file
            .read_exact_at(&mut bytes, self.start + first * row_bytes as u64)?;
        let values: Vec<f32> = match self.kind {
            Kind::F4 => {
                let (chunks, _) = bytes.as_chunks::<4>();
                chunks.iter().map(|it| f32::from_le_bytes(*it)).collect()
            }
            Kind::F8 => {
                let (chunks, _) = bytes.as_chunks::<8>();
                let value = |it: &[u8; 8]| f64::from_le_bytes(*it) as f32;
                chunks.iter().map(value).collect()
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(NpyError::NotFinite(first + (at / self.dimensions) as u64)),
        }
    }
}

fn read_exactly(file: &mut File, bytes: &mut [u8]) -> Result<(), NpyError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::Magic,
        _ => error.into(),
    })
}

/// The header is a Python dictionary, as `repr` writes it, of three entries.
fn parse(header: &str) -> Result<(Kind, u64, usize), NpyError> {
    let value = |name: &'static str| {
        let at = [format!("'{name}'"), format!("\"{name}\"")]
            .iter()
            .find_map(|quoted| Some(header.find(quoted.as_str())? + quoted.len()));
        let rest = header[at.ok_or(NpyError::Field(name))?..].trim_start();
        let rest = rest.strip_prefix(':').ok_or(NpyError::Field(name))?;
        Ok::<_, NpyError>(rest.trim_start())
    };
    let text = value("descr")?;
    let quote = text.chars().next().filter(|it| matches!(it, '\'' | '"'));
    let kind = match quote.and_then(|quote| text[1..].split_once(quote)) {
        Some(("<f4", _)) => Kind::F4,
        Some(("<f8", _)) => Kind::F8,
        Some((other, _)) => return Err(NpyError::Type(other.chars().take(20).collect())),
        None => return Err(NpyError::Type("a record".to_owned())),
    };
    match value("fortran_order")? {
        text if text.starts_with("False") => {}
        text if text.starts_with("True") => return Err(NpyError::Order),
        _ => return Err(NpyError::Field("fortran_order")),
    }
    let inner = value("shape")?
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'));
    let (inner, _) = inner.ok_or(NpyError::Field("shape"))?;
    let sizes: Vec<&str> = inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .collect();
    let &[rows, dimensions] = &sizes[..] else {
        return Err(NpyError::Shape(sizes.len()));
    };
    let rows = rows.parse().map_err(|_| NpyError::Field("shape"))?;
    let dimensions = dimensions.parse().map_err(|_| NpyError::Field("shape"))?;
    if rows == 0 || dimensions == 0 {
        return Err(NpyError::Field("shape: it is empty"));
    }
    if dimensions > MOST_DIMENSIONS {
        return Err(NpyError::Dimensions(dimensions));
    }
    Ok((kind, rows, dimensions))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(version: u8, header: &str, values: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        file.write_all(&bytes).expect("written");
        file
    }

    const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n";

    #[test]
    fn versions_and_types() {
        let values = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let single: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        for version in 1..=3 {
            let file = file(version, HEADER, &single);
            let npy = Npy::open(file.path()).expect("a good file");
            assert_eq!((npy.rows(), npy.dimensions()), (2, 3));
            assert_eq!(npy.read(1, 1).expect("a row"), values[3..]);
        }
        let double = values.iter().flat_map(|&it| f64::from(it).to_le_bytes());
        let file = file(1, &HEADER.replace("f4", "f8"), &double.collect::<Vec<_>>());
        let npy = Npy::open(file.path()).expect("a good file");
        assert_eq!(npy.read(0, 2).expect("rows"), values);
    }

    #[test]
    fn hostile_files_have_one_line_each() {
        let values = [0; 24];
        for (from, to, says) in [
            ("<f4", ">f4", "type >f4"),
            ("'<f4'", "[('a', '<f4')]", "a record"),
            ("False", "True", "Fortran"),
            ("(2, 3)", "(6,)", "1 dimensions"),
            ("(2, 3)", "(2, 3, 1)", "3 dimensions"),
            ("(2, 3)", "(-2, 3)", "no usable shape"),
            ("(2, 3)", "(0, 3)", "empty"),
            ("(2, 3)", "(18446744073709551615, 65536)", "bytes of values"),
            ("(2, 3)", "(20000000000, 3)", "240000000000 bytes"),
            ("(2, 3)", "(1, 1099511627776)", "more than 65536"),
            ("shape", "shapes", "no usable shape"),
            ("'descr'", "", "no usable descr"),
        ] {
            let file = file(1, &HEADER.replace(from, to), &values);
            let error = Npy::open(file.path()).expect_err(says).to_string();
            assert!(error.contains(says), "{error}: {says}");
        }
        let short = file(1, HEADER, &values[..20]);
        assert!(matches!(
            Npy::open(short.path()),
            Err(NpyError::Length { .. })
        ));
        let long = file(2, &"x".repeat(LONGEST_HEADER + 1), &[]);
        assert!(matches!(Npy::open(long.path()), Err(NpyError::Header)));
        let later = file(9, HEADER, &values);
        assert!(matches!(
            Npy::open(later.path()),
            Err(NpyError::Version(9, 0))
        ));
        let mut text = tempfile::NamedTempFile::new().expect("a file");
        text.write_all(b"a,b\n").expect("written");
        assert!(matches!(Npy::open(text.path()), Err(NpyError::Magic)));
        let nan = file(1, HEADER, &f32::NAN.to_le_bytes().repeat(6));
        let npy = Npy::open(nan.path()).expect("a good header");
        assert!(matches!(npy.read(1, 1), Err(NpyError::NotFinite(1))));
    }
}
