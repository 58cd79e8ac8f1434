//! A cursor over bytes that nobody vouches for: each read says whether there
//! was enough, none can panic.

/// Pointer encodings of `.eh_frame` (LSB 5.0 core, section 10.5.1).
pub mod encoding {
    pub const ABSOLUTE: u8 = 0x00;
    pub const ULEB128: u8 = 0x01;
    pub const UDATA2: u8 = 0x02;
    pub const UDATA4: u8 = 0x03;
    pub const UDATA8: u8 = 0x04;
    pub const SLEB128: u8 = 0x09;
    pub const SDATA2: u8 = 0x0a;
    pub const SDATA4: u8 = 0x0b;
    pub const SDATA8: u8 = 0x0c;
    pub const FORMAT: u8 = 0x0f;

    pub const PC_RELATIVE: u8 = 0x10;
    pub const TEXT_RELATIVE: u8 = 0x20;
    pub const DATA_RELATIVE: u8 = 0x30;
    pub const BASE: u8 = 0x70;

    pub const INDIRECT: u8 = 0x80;
    pub const OMIT: u8 = 0xff;
}

/// What the relative pointer encodings are relative to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bases {
    /// Address of the first byte of the section read.
    pub section: u64,
    pub text: u64,
    pub data: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// Starts within `data`, so that positions are those of the whole.
    pub fn at(data: &'a [u8], position: usize) -> Self {
        Self { data, position }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn is_empty(&self) -> bool {
        self.position >= self.data.len()
    }

    /// A reader that ends at `end`, if that is within this one.
    pub fn until(&self, end: usize) -> Option<Self> {
        (end >= self.position).then_some(())?;
        Some(Self {
            data: self.data.get(..end)?,
            position: self.position,
        })
    }

    #[inline]
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let bytes = self.data.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    pub fn skip(&mut self, count: u64) -> Option<()> {
        self.bytes(usize::try_from(count).ok()?).map(|_| ())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.data.get(self.position..)?.first_chunk::<N>()?;
        self.position += N;
        Some(*bytes)
    }

    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    #[inline]
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bits beyond 64 must be redundant padding.
    #[inline]
    pub fn uleb128(&mut self) -> Option<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift < 64 {
                if shift == 63 && bits > 1 {
                    return None;
                }
                value |= bits << shift;
                shift += 7;
            } else if bits != 0 {
                return None;
            }
            if byte < 0x80 {
                return Some(value);
            }
        }
    }

    #[inline]
    pub fn sleb128(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        let mut shift = 0;
        loop {
            let byte = self.u8()?;
            if shift < 64 {
                value |= i64::from(byte & 0x7f) << shift;
                shift += 7;
            } else if byte & 0x7f != 0 && byte & 0x7f != 0x7f {
                return None;
            }
            if byte < 0x80 {
                if shift < 64 && byte & 0x40 != 0 {
                    value |= -1 << shift;
                }
                return Some(value);
            }
        }
    }

    /// The bytes before the next NUL, which is consumed.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let rest = self.data.get(self.position..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        self.position += length + 1;
        rest.get(..length)
    }

    /// A pointer's value as it stands in the file.
    #[inline]
    pub fn encoded_value(&mut self, encoding: u8) -> Option<u64> {
        Some(match encoding & encoding::FORMAT {
            encoding::ABSOLUTE | encoding::UDATA8 | encoding::SDATA8 => self.u64()?,
            encoding::ULEB128 => self.uleb128()?,
            encoding::UDATA2 => u64::from(self.u16()?),
            encoding::UDATA4 => u64::from(self.u32()?),
            encoding::SLEB128 => self.sleb128()? as u64,
            encoding::SDATA2 => self.u16()? as i16 as u64,
            encoding::SDATA4 => self.u32()? as i32 as u64,
            _ => return None,
        })
    }

    /// A pointer as an address. `None` as well for the encodings that only a
    /// running process can resolve.
    #[inline]
    pub fn encoded_pointer(&mut self, encoding: u8, bases: &Bases) -> Option<u64> {
        if encoding & encoding::INDIRECT != 0 {
            return None;
        }
        let here = bases.section.wrapping_add(self.position as u64);
        let value = self.encoded_value(encoding)?;
        let base = match encoding & encoding::BASE {
            0 => 0,
            encoding::PC_RELATIVE => here,
            encoding::TEXT_RELATIVE => bases.text,
            encoding::DATA_RELATIVE => bases.data,
            _ => return None,
        };
        Some(value.wrapping_add(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_of_the_standard() {
        // DWARF 5, figures C.1 and C.2 (appendix C).
        for (bytes, value) in [
            (&[2][..], 2),
            (&[127], 127),
            (&[0x80, 1], 128),
            (&[0xb9, 0x64], 12857),
        ] {
            assert_eq!(Reader::new(bytes).uleb128(), Some(value));
        }
        for (bytes, value) in [
            (&[2][..], 2),
            (&[0x7e], -2),
            (&[0xff, 0], 127),
            (&[0x81, 0x7f], -127),
            (&[0x80, 0x7f], -128),
        ] {
            assert_eq!(Reader::new(bytes).sleb128(), Some(value));
        }
    }

    #[test]
    fn leb128_that_is_endless_or_too_big() {
        assert_eq!(Reader::new(&[0x80; 40]).uleb128(), None);
        assert_eq!(Reader::new(&[0x80; 40]).sleb128(), None);
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&max).uleb128(), Some(u64::MAX));
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(Reader::new(&over).uleb128(), None);
        let padded = [
            0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
        ];
        assert_eq!(Reader::new(&padded).uleb128(), Some(1));
    }

    #[test]
    fn a_position_past_the_end_reads_nothing() {
        let mut reader = Reader::at(&[1, 2, 3], usize::MAX);
        assert_eq!(reader.u8(), None);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.string(), None);
        assert_eq!(reader.skip(u64::MAX), None);
        assert!(reader.is_empty());
    }
}
