//! The compiler and linker of the BPF side.
//!
//! Two ways lead there. The usual one is a rustup nightly with the library's
//! sources. Where rustup has none and can fetch none, a distribution's compiler
//! with the same sources does as well: `RUSTC_BOOTSTRAP` opens its unstable
//! options, and bpf-linker is built against the distribution's LLVM.
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    packages::{self, Need, Proof},
    shell,
};

/// The oldest compiler that takes the workspace: `rust-version` in Cargo.toml.
const OLDEST: (u32, u32) = (1, 95);
const BPF_LINKER: &str = "0.13.0";

pub struct Toolchain {
    pub cargo: Vec<PathBuf>,
    pub rustc: PathBuf,
    /// Sysroot with `lib/rustlib/src`, as the compiler names it.
    pub sysroot: PathBuf,
    /// The first line of `rustc --version`.
    pub rustc_version: String,
    pub llvm: String,
    pub linker: PathBuf,
    pub linker_version: String,
    pub strip: PathBuf,
}

struct Compiler {
    cargo: Vec<PathBuf>,
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
    release: (u32, u32),
    llvm: String,
    /// Whether this is the distribution's and not rustup's.
    distribution: bool,
}

/// Makes the toolchain ready, installing what is missing.
pub fn ensure() -> Result<Toolchain> {
    let compiler = match find() {
        Some(compiler) => compiler,
        None => {
            install_compiler()?;
            find().context(
                "still no compiler with the library's sources: \
                 rustup toolchain install nightly --component rust-src",
            )?
        }
    };
    let (linker, strip) = if compiler.distribution {
        distribution_linker(&compiler)?
    } else {
        rustup_linker(&compiler)?
    };
    let linker_version = shell::output(Command::new(&linker).arg("--version"))?
        .trim()
        .to_owned();
    Ok(Toolchain {
        cargo: compiler.cargo,
        rustc: compiler.rustc,
        sysroot: compiler.sysroot,
        rustc_version: compiler.version,
        llvm: compiler.llvm,
        linker,
        linker_version,
        strip,
    })
}

fn find() -> Option<Compiler> {
    rustup_toolchains()
        .into_iter()
        .filter_map(|name| rustup_compiler(&name))
        .chain(Compiler::ask(
            vec!["/usr/bin/cargo".into()],
            "/usr/bin/rustc".into(),
            true,
        ))
        .find(|compiler| compiler.release >= OLDEST && compiler.has_sources())
}

/// The nightlies that rustup has, newest name last as rustup lists them.
fn rustup_toolchains() -> Vec<String> {
    let Some(rustup) = shell::find("rustup") else {
        return Vec::new();
    };
    let list = shell::output(Command::new(rustup).args(["toolchain", "list"])).unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect()
}

fn rustup_compiler(toolchain: &str) -> Option<Compiler> {
    let which = |tool: &str| {
        let text =
            shell::output(Command::new("rustup").args(["which", "--toolchain", toolchain, tool]))
                .ok()?;
        Some(PathBuf::from(text.trim()))
    };
    Compiler::ask(vec![which("cargo")?], which("rustc")?, false)
}

impl Compiler {
    fn ask(cargo: Vec<PathBuf>, rustc: PathBuf, distribution: bool) -> Option<Self> {
        if !rustc.is_file() || !cargo[0].is_file() {
            return None;
        }
        let verbose = shell::output(Command::new(&rustc).arg("-vV")).ok()?;
        let field = |name: &str| {
            verbose
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        let release = field("release:")?;
        let mut numbers = release.split('.').map_while(|part| part.parse().ok());
        let sysroot = shell::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
        Some(Self {
            cargo,
            sysroot: sysroot.trim().into(),
            version: verbose.lines().next()?.to_owned(),
            release: (numbers.next()?, numbers.next()?),
            llvm: field("LLVM version:")?,
            rustc,
            distribution,
        })
    }

    fn has_sources(&self) -> bool {
        self.sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file()
    }

    fn llvm_major(&self) -> &str {
        self.llvm.split('.').next().unwrap_or_default()
    }
}

fn install_compiler() -> Result<()> {
    if shell::find("apt-get").is_some() {
        packages::update()?;
        // Old releases keep a second, newer compiler beside their own.
        for set in [
            ["rustc-web", "cargo-web", "rust-web-src"],
            ["rustc", "cargo", "rust-src"],
        ] {
            if packages::candidate(set[0]).is_some_and(|version| new_enough(&version))
                && set.iter().all(|package| packages::known(package))
            {
                eprintln!("building the BPF side: installing the distribution's compiler");
                eprintln!("  {:<28} compiler and library sources", set.join(" "));
                return packages::install(&set);
            }
        }
    }
    if shell::find("rustup").is_some() {
        eprintln!("building the BPF side: asking rustup for a nightly with the library's sources");
        return shell::run(Command::new("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]));
    }
    bail!(
        "no compiler of at least {}.{} with the library's sources is to be had: install rustup, then \
         rustup toolchain install nightly --component rust-src",
        OLDEST.0,
        OLDEST.1
    )
}

fn new_enough(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= OLDEST)
}

/// bpf-linker as it comes, with the LLVM of the rustup toolchain.
fn rustup_linker(compiler: &Compiler) -> Result<(PathBuf, PathBuf)> {
    let linker = match shell::find("bpf-linker") {
        Some(linker) => linker,
        None => {
            eprintln!("building the BPF side: installing bpf-linker, which links BPF objects");
            shell::run(
                Command::new(&compiler.cargo[0])
                    .env("RUSTC", &compiler.rustc)
                    .args(["install", "bpf-linker", "--locked"]),
            )?;
            shell::find("bpf-linker").context("bpf-linker was installed, but is not in PATH")?
        }
    };
    let bundled = compiler
        .sysroot
        .join("lib/rustlib/x86_64-unknown-linux-gnu/bin/llvm-strip");
    let strip = if bundled.is_file() {
        bundled
    } else {
        packages::ensure(
            "building the BPF side",
            &[Need {
                why: "llvm-strip, which drops debug sections of the object",
                proof: Proof::Tool("llvm-strip"),
                packages: &[&["llvm"]],
            }],
        )?;
        shell::find("llvm-strip").context("no llvm-strip")?
    };
    Ok((linker, strip))
}

/// bpf-linker against the distribution's LLVM of the compiler's own version.
fn distribution_linker(compiler: &Compiler) -> Result<(PathBuf, PathBuf)> {
    let major = compiler.llvm_major();
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    if !prefix.join("bin/llvm-config").is_file() || !prefix.join("bin/llvm-strip").is_file() {
        packages::update()?;
        eprintln!("building the BPF side: installing");
        let development = format!("llvm-{major}-dev");
        let tools = format!("llvm-{major}");
        eprintln!("  {development} {tools}  the compiler's LLVM, which bpf-linker is built on");
        packages::install(&[&development, &tools])?;
    }
    let strip = prefix.join("bin/llvm-strip");
    let own = tools().join("bin/bpf-linker");
    let linker = [Some(own.clone()), shell::find("bpf-linker")]
        .into_iter()
        .flatten()
        .find(|linker| links_with(linker, &prefix));
    if let Some(linker) = linker {
        return Ok((linker, strip));
    }
    packages::ensure(
        "building bpf-linker",
        &[
            Need {
                why: "C++ compiler, for the bindings to LLVM",
                proof: Proof::Tool("g++"),
                packages: &[&["g++"]],
            },
            Need {
                why: "zlib, which LLVM links",
                proof: Proof::File("/usr/include/zlib.h"),
                packages: &[&["zlib1g-dev"]],
            },
            Need {
                why: "zstd, which LLVM links",
                proof: Proof::File("/usr/include/zstd.h"),
                packages: &[&["libzstd-dev"]],
            },
        ],
    )?;
    eprintln!(
        "building bpf-linker {BPF_LINKER} against {} (about 2 minutes)",
        prefix.display()
    );
    shell::run(
        shell::cargo()
            .env("LLVM_PREFIX", &prefix)
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"])
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{major}"))
            .arg("--root")
            .arg(tools()),
    )?;
    Ok((own, strip))
}

/// Whether a bpf-linker is of the wanted version and bound to the LLVM in
/// `prefix`: one built on another LLVM cannot read the compiler's bitcode.
fn links_with(linker: &Path, prefix: &Path) -> bool {
    let version = shell::output(Command::new(linker).arg("--version")).unwrap_or_default();
    let libraries = shell::output(Command::new("ldd").arg(linker)).unwrap_or_default();
    let wanted = prefix.join("lib").display().to_string();
    let name = prefix
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace("llvm-", "libLLVM.so.");
    version.trim().ends_with(BPF_LINKER)
        && libraries.lines().any(|line| {
            line.contains("libLLVM") && (line.contains(&wanted) || line.contains(&name))
        })
}

/// Tools that the repository builds for itself.
pub fn tools() -> PathBuf {
    match env::var_os("PROFILER_TOOLS") {
        Some(directory) => directory.into(),
        None => shell::target().join("tools"),
    }
}
