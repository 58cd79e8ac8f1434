//! The compiled BPF object that the repository ships, so that building the
//! profiler needs neither LLVM nor a nightly, and the proof that it was built
//! from the sources beside it.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    digest,
    shell::{self, root},
    toolchain::{self, Toolchain},
};

const TARGET: &str = "bpfel-unknown-none";

fn object() -> PathBuf {
    root().join("profiler/bpf/profiler.bpf.o")
}

fn record() -> PathBuf {
    root().join("profiler/bpf/profiler.bpf.json")
}

/// `cargo xtask build-bpf`
pub fn build() -> Result<()> {
    let toolchain = toolchain::ensure()?;
    let bytes = compile(&toolchain, false)?;
    fs::create_dir_all(object().parent().expect("it lies in a directory"))?;
    fs::write(object(), &bytes).context("writing the object")?;
    let record_text = serde_json::to_string_pretty(&json!({
        "sources": digest::sources(&root(), &flags())?,
        "object": digest::hex(&bytes),
        "rustc": toolchain.rustc_version,
        "llvm": toolchain.llvm,
        "linker": toolchain.linker_version,
    }))?;
    fs::write(record(), record_text + "\n").context("writing the record of the object")?;
    eprintln!(
        "wrote profiler/bpf/profiler.bpf.o: {} bytes, {}, {}",
        bytes.len(),
        toolchain.rustc_version,
        toolchain.linker_version
    );
    Ok(())
}

/// `cargo xtask check-bpf`: says how far the object could be proved.
pub fn check() -> Result<String> {
    let text = fs::read_to_string(record())
        .context("no record of the BPF object: run cargo xtask build-bpf")?;
    let record: Value = serde_json::from_str(&text).context("profiler/bpf/profiler.bpf.json")?;
    let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let bytes = fs::read(object()).context("no BPF object: run cargo xtask build-bpf")?;
    if digest::hex(&bytes) != field("object") {
        bail!("profiler.bpf.o is not the object its record names: run cargo xtask build-bpf");
    }
    if digest::sources(&root(), &flags())? != field("sources") {
        bail!("profiler.bpf.o is older than the sources beside it: run cargo xtask build-bpf");
    }
    let toolchain = match toolchain::ensure() {
        Ok(toolchain) => toolchain,
        // A contributor without the toolchain can still work on userspace.
        // Where changes are accepted, a proof by digest alone will not do.
        Err(error) if env::var_os("CI").is_none() => {
            return Ok(format!(
                "only the digest was compared, no rebuild: {error:#}"
            ));
        }
        Err(error) => return Err(error.context("the BPF object cannot be rebuilt")),
    };
    let rebuilt = compile(&toolchain, true)?;
    let same_tools = toolchain.rustc_version == field("rustc")
        && toolchain.llvm == field("llvm")
        && toolchain.linker_version == field("linker");
    if !same_tools {
        return Ok(format!(
            "rebuilt without a warning by {} and {}; the object's digest was compared, \
             not its bytes: it was built by {} and {}",
            toolchain.rustc_version,
            toolchain.linker_version,
            field("rustc"),
            field("linker")
        ));
    }
    if rebuilt != bytes {
        let kept = shell::target().join("bpf/rebuilt.bpf.o");
        fs::write(&kept, &rebuilt)?;
        bail!(
            "rebuilding gives another object than profiler.bpf.o, with the same tools; it is in {}",
            kept.display()
        );
    }
    Ok("rebuilt, the same to the byte".to_owned())
}

/// Flags that say what is built, the same on every machine.
fn flags() -> Vec<String> {
    [
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Builds the object, without its DWARF, and returns its bytes.
fn compile(toolchain: &Toolchain, deny_warnings: bool) -> Result<Vec<u8>> {
    let target = shell::target().join("bpf");
    let mut flags = flags();
    flags.push(format!("-Clinker={}", toolchain.linker.display()));
    flags.extend(
        remaps(toolchain)?
            .into_iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
    );
    let mut command = Command::new(&toolchain.cargo[0]);
    command
        .args(&toolchain.cargo[1..])
        .current_dir(root())
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Its BTF is made from debug information.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        // What a user set for the host's build must not reach this one.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTUP_TOOLCHAIN")
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "profiler-ebpf",
        ])
        .args([
            "--bin",
            "profiler-ebpf",
            "--target",
            TARGET,
            "-Z",
            "build-std=core",
        ]);
    eprintln!(
        "+ {} (rustc {})",
        shell::show(&command),
        toolchain.rustc.display()
    );
    let built = shell::capture(&mut command)?;
    let messages = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        bail!("the BPF side does not build:\n{messages}");
    }
    // Cargo repeats the warnings of the workspace's own packages on every
    // build, and shows none of the others'.
    if messages.lines().any(|line| line.starts_with("warning")) {
        if deny_warnings {
            bail!("the BPF side builds with warnings:\n{messages}");
        }
        eprint!("{messages}");
    }
    let linked = target.join(TARGET).join("release/profiler-ebpf");
    let stripped = target.join("profiler.bpf.o");
    // Drops .debug_* and their relocations, and keeps .BTF and .BTF.ext.
    shell::run(
        Command::new(&toolchain.strip)
            .arg("--strip-debug")
            .arg("-o")
            .arg(&stripped)
            .arg(&linked),
    )?;
    fs::read(&stripped).context("reading the stripped object")
}

/// Paths of this machine that the compiler would write into the object's line
/// information, and what it writes instead.
fn remaps(toolchain: &Toolchain) -> Result<Vec<(PathBuf, String)>> {
    let mut remaps = vec![(root(), String::new())];
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // The directory's name differs where a mirror stands in for the registry.
    if let Ok(entries) = fs::read_dir(home.join("registry/src")) {
        for entry in entries {
            remaps.push((entry?.path(), "registry".to_owned()));
        }
    }
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    if let Ok(real) = fs::canonicalize(&sources) {
        remaps.push((real, "rust".to_owned()));
    }
    remaps.push((sources, "rust".to_owned()));
    Ok(remaps)
}
