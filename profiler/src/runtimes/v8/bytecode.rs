//! Lengths of the interpreter's instructions.

use super::{binary::Binary, symbols::Symbol};

/// Lengths of instructions of the bytecode, `Bytecodes::kBytecodeSizes`: for
/// single, double and quadruple operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytecodeSizes {
    sizes: Vec<u8>,
    count: usize,
}

impl BytecodeSizes {
    fn new(sizes: Vec<u8>) -> Option<Self> {
        let count = sizes.len() / 3;
        let valid = sizes.len().is_multiple_of(3)
            && (100..=256).contains(&count)
            && sizes.iter().all(|size| (1..=32).contains(size));
        valid.then_some(Self { sizes, count })
    }

    /// Length of the instruction at the start of `bytecode`, with the prefix
    /// that widens its operands (src/interpreter/bytecodes.h: `Wide`,
    /// `ExtraWide` and their `DebugBreak`s are 0 to 3).
    pub fn length(&self, bytecode: &[u8]) -> Option<usize> {
        let (&first, rest) = bytecode.split_first()?;
        let (prefix, scale, operation) = match first {
            0 | 2 => (1, 1, *rest.first()?),
            1 | 3 => (1, 2, *rest.first()?),
            other => (0, 0, other),
        };
        if usize::from(operation) >= self.count {
            return None;
        }
        let size = self
            .sizes
            .get(scale * self.count + usize::from(operation))?;
        Some(prefix + usize::from(*size))
    }
}

/// What the build has of them.
pub fn bytecode_sizes(binary: &Binary) -> Option<BytecodeSizes> {
    let Symbol { address, size } = binary
        .symbols
        .get("_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE")?;
    let size = usize::try_from(size).ok().filter(|&size| size <= 768)?;
    BytecodeSizes::new(binary.bytes(address, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_with_and_without_prefix() {
        let mut sizes = vec![2; 3 * 200];
        sizes[200..400].fill(3);
        sizes[400..].fill(5);
        let sizes = BytecodeSizes::new(sizes).expect("sizes");
        assert_eq!(sizes.length(&[17]), Some(2));
        assert_eq!(sizes.length(&[0, 17]), Some(4));
        assert_eq!(sizes.length(&[1, 17]), Some(6));
        assert_eq!(sizes.length(&[1]), None);
        assert_eq!(sizes.length(&[250]), None);
        assert!(BytecodeSizes::new(vec![2; 7]).is_none());
        assert!(BytecodeSizes::new(vec![0; 600]).is_none());
    }
}
