//! The vDSO: code that the kernel maps into every process. It is the same in
//! each, and we have a copy of our own.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use super::elf::Bytes;

/// The image, an ELF file without a file.
pub fn image() -> io::Result<Vec<u8>> {
    for line in BufReader::new(File::open("/proc/self/maps")?).lines() {
        let line = line?;
        if let Some((start, end)) = line
            .ends_with("[vdso]")
            .then(|| line.split_once(' ')?.0.split_once('-'))
            .flatten()
        {
            let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
            let (start, end) = (number(start)?, number(end)?);
            let mut image = vec![0; (end - start) as usize];
            File::open("/proc/self/mem")?.read_at(start, &mut image)?;
            return Ok(image);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
