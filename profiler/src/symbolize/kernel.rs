//! Kernel addresses, from `/proc/kallsyms`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use thiserror::Error;

use super::names::{printable, underscores};
use crate::kallsyms::{self, Line};

#[derive(Debug, Error)]
pub enum KernelError {
    #[error("/proc/kallsyms cannot be read ({0}), so kernel functions have no names")]
    Read(#[from] io::Error),
    #[error(
        "the kernel hides its addresses (kernel.kptr_restrict is {0}), so its functions have no \
         names; run as root after: sysctl kernel.kptr_restrict=1"
    )]
    Hidden(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSymbol {
    pub name: String,
    /// The module it is in, such as `nf_tables` or `bpf`; empty for the
    /// kernel itself.
    pub module: String,
    pub start: u64,
}

/// Functions are shorter; an address this far behind the last symbol before
/// it lies in none.
const MAX_FUNCTION: u64 = 16 << 20;

#[derive(Default)]
struct Best {
    start: u64,
    /// Rank, underscores, name, module.
    name: Option<(u8, usize, Vec<u8>, Vec<u8>)>,
}

impl Best {
    /// Data symbols count too: what lies behind one is no function's.
    fn offer(&mut self, line: &Line<'_>) {
        if self.name.is_none() || line.start > self.start {
            self.start = line.start;
        } else if line.start < self.start {
            return;
        } else if let Some((known, count, name, _)) = &self.name
            && (*known, *count, name.as_slice()) <= (rank(line), underscores(line.name), line.name)
        {
            return;
        }
        self.name = Some((
            rank(line),
            underscores(line.name),
            line.name.to_vec(),
            line.module.to_vec(),
        ));
    }

    /// That of an address at or behind it.
    fn symbol(&self, address: u64) -> Option<KernelSymbol> {
        let (rank, _, name, module) = self.name.as_ref()?;
        let text = |bytes: &[u8]| printable(String::from_utf8_lossy(bytes).into_owned());
        (*rank < NO_FUNCTION && address - self.start < MAX_FUNCTION).then(|| KernelSymbol {
            name: text(name),
            module: text(module),
            start: self.start,
        })
    }
}

const NO_FUNCTION: u8 = 3;

/// Global functions first, then weak, then local ones. What the linker script
/// defines (`_stext`) is as global as `startup_64` and has more underscores.
fn rank(line: &Line<'_>) -> u8 {
    match line.kind {
        b'T' => 0,
        b'W' | b'w' => 1,
        b't' => 2,
        _ => NO_FUNCTION,
    }
}

/// The symbols of each address, `None` where there is none.
pub fn look_up(addresses: &[u64]) -> Result<Vec<Option<KernelSymbol>>, KernelError> {
    let core = kallsyms::core()?;
    let last = kallsyms::until(core, u64::MAX).next();
    let last = last.map_or(0, |line| line.start);
    // Modules and programs lie behind the kernel.
    if addresses.iter().all(|&address| address < last) {
        let symbol = |&address: &u64| look_up_ordered(core, address);
        return Ok(addresses.iter().map(symbol).collect());
    }
    let file = BufReader::with_capacity(256 << 10, File::open(kallsyms::PATH)?);
    look_up_in(file, addresses)
}

fn look_up_ordered(text: &[u8], address: u64) -> Option<KernelSymbol> {
    let mut best = Best::default();
    for line in kallsyms::until(text, address) {
        if best.name.is_some() && line.start < best.start {
            break;
        }
        best.offer(&line);
    }
    best.symbol(address)
}

fn look_up_in(
    mut file: impl BufRead,
    addresses: &[u64],
) -> Result<Vec<Option<KernelSymbol>>, KernelError> {
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_unstable_by_key(|&index| addresses[index]);
    let sorted: Vec<u64> = order.iter().map(|&index| addresses[index]).collect();
    let mut preceding: Vec<Best> = sorted.iter().map(|_| Best::default()).collect();
    let mut any = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some(line) = Line::parse(&line) else {
            continue;
        };
        any |= line.start != 0;
        let first = sorted.partition_point(|&address| address < line.start);
        if let Some(best) = preceding.get_mut(first) {
            best.offer(&line);
        }
    }
    if !any {
        let value = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict");
        let value = value.as_deref().map_or("unknown", str::trim).to_owned();
        return Err(KernelError::Hidden(value));
    }
    let mut found = vec![None; addresses.len()];
    let mut last = Best::default();
    for (best, &index) in preceding.into_iter().zip(&order) {
        if best.name.is_some() {
            last = best;
        }
        found[index] = last.symbol(addresses[index]);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn between_symbols() {
        let ordered = "1000 T _text\n1000 T start\n1000 t local\n2000 t f\t[mod]\n3000 D data\n";
        let text = format!("{ordered}rubbish\n");
        let addresses = [0x3001, 0x1fff, 0x2000, 0xfff, 0x1000];
        let names = look_up_in(text.as_bytes(), &addresses).unwrap();
        assert_eq!(
            names,
            addresses.map(|address| look_up_ordered(ordered.as_bytes(), address))
        );
        let names: Vec<_> = names
            .iter()
            .map(|symbol| {
                symbol
                    .as_ref()
                    .map(|s| (s.name.as_str(), s.module.as_str()))
            })
            .collect();
        assert_eq!(
            names,
            [
                None,
                Some(("start", "")),
                Some(("f", "mod")),
                None,
                Some(("start", ""))
            ]
        );
    }

    #[test]
    fn hidden_addresses_are_an_error() {
        let error = look_up_in("0 T a\n0 t b\n".as_bytes(), &[1]).unwrap_err();
        assert!(error.to_string().contains("kptr_restrict"), "{error}");
    }

    /// Needs root: others see zeroes.
    #[test]
    fn every_function_has_its_own_name() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let mut names: HashMap<u64, HashSet<&str>> = HashMap::new();
        let mut functions = HashSet::new();
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let start = u64::from_str_radix(fields.next().unwrap(), 16).unwrap();
            let kind = fields.next().unwrap();
            names
                .entry(start)
                .or_default()
                .insert(fields.next().unwrap());
            // BPF programs of others come and go while this test runs.
            if "tTwW".contains(kind) && fields.next() != Some("[bpf]") {
                functions.insert(start);
            }
        }
        let addresses: Vec<u64> = functions.into_iter().collect();
        assert!(addresses.len() > 10_000);
        for (address, symbol) in addresses.iter().zip(look_up(&addresses).unwrap()) {
            let symbol = symbol.unwrap_or_default();
            assert!(
                names[address].contains(symbol.name.as_str()),
                "{address:x}: {symbol:?}"
            );
        }
    }
}
