//! `cargo xtask`: set-up, builds, tests and measurements of this repository.
mod accuracy;
mod bench;
mod bpf;
mod cache;
mod compare_bench;
mod digest;
mod dist;
mod event_costs;
mod interpreters;
mod kernels;
mod load;
mod mariadb;
mod measure;
mod nodes;
mod packages;
mod py_spy;
mod pythons;
mod run;
mod setup;
mod shell;
mod stack;
mod suites;
mod test;
mod toolchain;
mod vector_databases;
mod vite;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const HELP: &str = "\
Set-up, builds, tests and measurements of this repository

Usage: cargo xtask COMMAND

Commands:
  run [-- ARGS]       Build the profiler and run it as root with ARGS
                      (default: --mode system --duration 10 --output reports/system.html)
  test [PART]...      Run every test, or the parts named: bpf fmt clippy unit integration kernels
  test PART -- NAME   Run the tests of a part whose name contains NAME
  build-bpf           Compile the BPF side into profiler/bpf/profiler.bpf.o
  check-bpf           Prove that the object was built from the sources beside it
  dist                Build one static binary, target/dist/profiler
  bench [--json]      Measure the profiler beside profile-bee, perf and bpftrace
  bench accuracy      Only how true its shares are, beside py-spy and --cpu-prof
  bench events        Only what programs lose that are looked at, beside bpftrace
                      and strace
  bench load          Only the load generator, beside wrk and oha
  bench compare [N]   How often `profiler compare` is wrong about N pairs of programs
  stack up|down       Start or stop containers to try the profiler on (--cgroup v1|v2)
  stack up --demo     Instead, a shop with faults planted in it (--fixed: without them)
  setup [build|test]  Install what building or testing needs, and nothing else

Example:
  cargo xtask stack up
  cargo xtask run -- --mode system --containers all --duration 10 --output reports/system.html
  cargo xtask stack down
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match command(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(arguments: &[String]) -> Result<ExitCode> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    // What is behind it is the profiler's own.
    let ours = rest.split(|word| word == "--").next().unwrap_or_default();
    if ours.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    match command {
        "run" => return run::run(rest),
        "test" => return test::test(rest),
        "build-bpf" => bpf::build()?,
        "check-bpf" => eprintln!("{}", bpf::check()?),
        "dist" => eprintln!("{}", dist::build()?.display()),
        "bench" => bench::bench(rest)?,
        "stack" => stack::stack(rest)?,
        "setup" => match rest.first().map(String::as_str) {
            None | Some("build") => setup::build()?,
            Some("test") => {
                setup::test()?;
                pythons::fetch()?;
                nodes::fetch()?;
                vite::fetch()?;
                py_spy::fetch()?;
                mariadb::fetch()?;
                vector_databases::fetch()?;
            }
            Some(other) => bail!("setup knows build and test, not {other}"),
        },
        "help" | "--help" | "-h" => print!("{HELP}"),
        other => bail!("no command {other}: see cargo xtask help"),
    }
    Ok(ExitCode::SUCCESS)
}
