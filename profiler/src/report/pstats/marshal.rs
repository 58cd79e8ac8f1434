//! Python's `marshal` format, as much of it as pstats needs: what version 2
//! has, which every Python 3 reads.

use std::io::{self, Write};

pub enum Value {
    Integer(u64),
    Float(f64),
    Text(String),
    Tuple(Vec<Value>),
    Table(Vec<(Value, Value)>),
}

impl Value {
    /// Fails as `out` does, and for a text or tuple of 2 GiB or more.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Integer(number) => integer(*number, out),
            Self::Float(number) => {
                out.write_all(b"g")?;
                out.write_all(&number.to_le_bytes())
            }
            Self::Text(text) => {
                out.write_all(b"u")?;
                length(text.len(), out)?;
                out.write_all(text.as_bytes())
            }
            Self::Tuple(values) => {
                out.write_all(b"(")?;
                length(values.len(), out)?;
                values.iter().try_for_each(|value| value.write(out))
            }
            Self::Table(entries) => {
                out.write_all(b"{")?;
                for (key, value) in entries {
                    key.write(out)?;
                    value.write(out)?;
                }
                out.write_all(b"0")
            }
        }
    }
}

fn length(length: usize, out: &mut dyn Write) -> io::Result<()> {
    let length = i32::try_from(length).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())
}

fn integer(number: u64, out: &mut dyn Write) -> io::Result<()> {
    if let Ok(small) = i32::try_from(number) {
        out.write_all(b"i")?;
        return out.write_all(&small.to_le_bytes());
    }
    // Larger ones are digits of 15 bits, the lowest first.
    let digits: Vec<u16> = (0..)
        .map(|place| number.checked_shr(place * 15).unwrap_or(0))
        .take_while(|&rest| rest > 0)
        .map(|rest| (rest & 0x7fff) as u16)
        .collect();
    out.write_all(b"l")?;
    length(digits.len(), out)?;
    digits
        .iter()
        .try_for_each(|digit| out.write_all(&digit.to_le_bytes()))
}
