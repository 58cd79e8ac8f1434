//! Runtimes whose own frames are not shown: recognised, so that a report says
//! what is missing instead of showing nothing.

use std::path::Path;

/// Start of a file's name, what it is, and how its frames can be had.
///
/// Matched by name: these are the names under which they are installed, and a
/// wrong match costs no more than a sentence.
const KNOWN: [(&str, &str, &str); 9] = [
    ("libjvm.so", "a Java virtual machine", PERF_MAP_JAVA),
    ("libcoreclr.so", ".NET", PERF_MAP_DOTNET),
    ("libruby", "Ruby", NONE),
    ("ruby", "Ruby", NONE),
    ("libphp", "PHP", NONE),
    ("php", "PHP", NONE),
    ("bun", "Bun", NONE),
    ("deno", "Deno", PERF_MAP_DENO),
    ("beam.smp", "the Erlang virtual machine", PERF_MAP_ERLANG),
];

const NONE: &str = "its functions are shown as its interpreter's native code";
const PERF_MAP_JAVA: &str = "Java functions have names only if it writes a perf map \
     (-XX:+PreserveFramePointer, and `jcmd PID Compiler.perfmap`)";
const PERF_MAP_DOTNET: &str =
    "its functions have names only if it writes a perf map (DOTNET_PerfMapEnabled=1)";
const PERF_MAP_DENO: &str =
    "JavaScript functions have names only if it writes a perf map (--v8-flags=--perf-basic-prof)";
const PERF_MAP_ERLANG: &str =
    "its functions have names only if it writes a perf map (+JPperf true)";

/// A sentence on a runtime that this executable holds, if its frames are not
/// shown.
pub fn recognise(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (_, what, how) = KNOWN.iter().find(|(known, ..)| is(name, known))?;
    Some(format!("{what}: {how}"))
}

/// `ruby`, `ruby3.1`, `ruby-3.1`, `libruby-3.1.so.3.1`, but not `rubyfmt`.
fn is(name: &str, known: &str) -> bool {
    name.strip_prefix(known).is_some_and(|rest| {
        !rest.starts_with(|next: char| next.is_ascii_alphabetic())
            || rest.starts_with("-fpm")
            || rest.starts_with("-cgi")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::recognise;

    #[test]
    fn names_of_distributions() {
        let what = |path: &str| recognise(Path::new(path));
        for (path, start) in [
            (
                "/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so",
                "a Java",
            ),
            ("/usr/bin/ruby3.1", "Ruby"),
            ("/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2", "Ruby"),
            ("/usr/sbin/php-fpm8.2", "PHP"),
            ("/usr/bin/php8.2", "PHP"),
            ("/usr/local/bin/bun", "Bun"),
            (
                "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so",
                ".NET",
            ),
        ] {
            assert!(
                what(path).is_some_and(|text| text.starts_with(start)),
                "{path}"
            );
        }
        for path in ["/usr/bin/rubyfmt", "/usr/bin/bundle", "/bin/bash", "/"] {
            assert_eq!(what(path), None, "{path}");
        }
    }
}
