//! Processes whose memory says anything at all.

use std::sync::Arc;

use super::{Reader, node};
use crate::runtimes::{Memory, Unreadable};

/// Words that depend on their address and a seed: often pointers, small
/// integers, or instance types that are looked for.
struct Noise {
    seed: u64,
    types: Vec<u16>,
}

impl Noise {
    fn word(&self, address: u64) -> u64 {
        let mixed = mix((address / 8) ^ self.seed.rotate_left(32));
        let kind = self.types[(mixed >> 8) as usize % self.types.len()];
        match mixed % 8 {
            0..=2 => (mixed >> 20 & 0x7fff_ffff_fff8) | 1,
            3 => (mixed >> 40 & 0xff) << 32,
            4 => mixed & 0xffff_ffff_0000_0000,
            // `Map` has its type in the upper half of its second word.
            _ => u64::from(kind) << 32 | mixed & 0xffff,
        }
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

impl Memory for Noise {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let length = buffer.len();
        if length > 1 << 20 || mix((address / 4096) ^ self.seed).is_multiple_of(16) {
            return Err(Unreadable { address, length });
        }
        for (byte, at) in buffer.iter_mut().zip(address..) {
            *byte = self.word(at & !7).to_le_bytes()[(at & 7) as usize];
        }
        Ok(())
    }
}

#[test]
fn noise_is_refused() {
    for major in [18, 24, 26] {
        let (_, engine) = node(major);
        let layout = &engine.layout;
        let mut types = vec![
            layout.shared_type,
            layout.scope_type,
            layout.script_type,
            layout.code_type,
            layout.stream_type,
            layout.bytecode_type,
            0,
            1,
            2,
            3,
            5,
            8,
            9,
            11,
        ];
        types.extend(&layout.byte_arrays);
        types.extend(&layout.object_arrays);
        let mut understood = 0;
        for seed in 0..3000 {
            let memory = Noise {
                seed,
                types: types.clone(),
            };
            // What the kernel side saw of a function is what is there.
            let object = mix(seed) & 0x7fff_ffff_fff8;
            let check = memory.u32(object + layout.shared_check).unwrap_or(0);
            let folded = profiler_ebpf::v8::folded(check);
            let address = mix(seed + 1) & 0x7fff_ffff_ffff;
            let mut reader = Reader::new(Arc::clone(&engine));
            let details = [
                (seed & 0xfff) << 32 | u64::from(check),
                u64::from(folded) << 48 | address,
                seed & 63,
                mix(seed),
            ];
            for (kind, detail) in (1..=4).zip(details) {
                understood += u32::from(reader.resolve(&memory, kind, object, detail).is_ok());
            }
        }
        println!("node {major}: {understood} understood");
    }
}
