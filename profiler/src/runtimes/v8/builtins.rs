//! Where a build has its builtins.

use std::os::unix::fs::FileExt;

use profiler_ebpf::CodeRange;

use super::binary::Binary;

/// What an embedded blob of builtins is at least; Node's are 1.5 to 2 MB.
const SMALLEST_BLOB: u64 = 512 << 10;
const LARGEST_BLOB: u64 = 64 << 20;

/// The embedded blob: by its symbols, or, in a stripped file, as the large
/// part of the code that no unwind information covers (src/snapshot/embedded/
/// embedded-file-writer.cc writes none on Linux).
pub fn builtins(binary: &Binary) -> Option<CodeRange> {
    let executable = |range: &CodeRange| {
        range
            .end
            .checked_sub(range.start)
            .is_some_and(|size| (SMALLEST_BLOB..LARGEST_BLOB).contains(&size))
            && binary.elf.segments().iter().any(|segment| {
                segment.flags & crate::elf::EXECUTE != 0
                    && segment.address <= range.start
                    && range.end - segment.address <= segment.memory_size
            })
    };
    // Up to 10 `v8_Default_embedded_blob_code_` is a pointer to `..._data_`.
    let by_symbols = || {
        let start = binary
            .symbols
            .get("v8_Default_embedded_blob_code_data_")
            .or_else(|| binary.symbols.get("v8_Default_embedded_blob_code_"))?
            .address;
        let size = binary.symbols.get("v8_Default_embedded_blob_code_size_")?;
        let end = start.checked_add(u64::from(binary.word(size.address)?))?;
        Some(CodeRange { start, end })
    };
    by_symbols()
        .filter(executable)
        .or_else(|| gap(binary).filter(executable))
}

/// Largest gap between functions of the table of `.eh_frame_hdr` (LSB 5.0
/// core, section 10.6.2), in the encodings that all linkers write: a table of
/// pairs of 4 bytes, relative to the section.
fn gap(binary: &Binary) -> Option<CodeRange> {
    let header = binary.elf.section(".eh_frame_hdr")?;
    let size = header.data.len().min(64 << 20);
    let mut bytes = vec![0; size];
    binary.file.read_exact_at(&mut bytes, header.offset).ok()?;
    if bytes.get(..4)? != [1, 0x1b, 0x03, 0x3b] {
        return None;
    }
    let relative = |entry: &[u8]| {
        let value = i32::from_le_bytes(*entry.first_chunk()?);
        Some(header.address.wrapping_add_signed(i64::from(value)))
    };
    let mut best: Option<CodeRange> = None;
    let mut previous: Option<(u64, u64)> = None;
    for entry in bytes.get(12..)?.chunks_exact(8) {
        let (start, description) = (relative(&entry[..4])?, relative(&entry[4..])?);
        if let Some((last, description)) = previous
            && let Some(distance) = start.checked_sub(last)
            && distance >= SMALLEST_BLOB
        {
            // The length of a function is behind its start in the frame
            // description: length, CIE, start, length, 4 bytes each.
            let end = last.checked_add(u64::from(binary.word(description.checked_add(12)?)?))?;
            let range = CodeRange {
                start: end,
                end: start,
            };
            let size = |range: CodeRange| range.end.saturating_sub(range.start);
            if end < start && best.is_none_or(|best| size(best) < size(range)) {
                best = Some(range);
            }
        }
        previous = Some((start, description));
    }
    best
}
