//! Executables to test with: those of the system, and small ones built here.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Contents of a file, through its links; `None` if this system lacks it.
pub fn file(path: &str) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// A C program in each of its calling habits.
const SOURCE: &str = r#"
#include <alloca.h>
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) int leaf(int a, int b) { return a * b + 1; }

__attribute__((noinline)) int deep(int n, const char *text) {
    char copy[200];
    strncpy(copy, text, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    return n ? deep(n - 1, copy) + leaf(n, copy[0]) : puts(copy);
}

__attribute__((noinline)) int aligned(int n, const char *text) {
    _Alignas(64) volatile char first[64] = {0};
    char *second = alloca(n + 16);
    memset(second, n, n + 16);
    first[n & 63] = second[n & 15];
    int a = deep(n & 3, text), b = leaf(n, a), c = leaf(a, b), d = leaf(b, c);
    int e = deep(a & 1, text);
    return first[0] + a * b + c * d + e + second[3];
}

int main(int argc, char **argv) { return aligned(argc, argv[0]); }
"#;

/// Built with these options.
pub fn c(options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("program.c");
    let program = directory.path().join("program");
    std::fs::write(&source, SOURCE).expect("the source");
    let output = Command::new("cc")
        .args(options)
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .expect("gcc is installed");
    assert!(
        output.status.success(),
        "{options:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read(&program).expect("the program")
}

const GO_SOURCE: &str = r#"package main

import (
	"fmt"
	"os"
	"sort"
)

//go:noinline
func inner(values []int, name string) string {
	sort.Ints(values)
	var big [300]int
	for i := range big {
		big[i] = len(name) * i
	}
	return fmt.Sprint(values, name, big[len(values)])
}

func main() {
	done := make(chan string)
	go func() { done <- inner([]int{3, 1, 2}, os.Args[0]) }()
	fmt.Println(<-done)
}
"#;

pub fn go(options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("main.go");
    let program: PathBuf = Path::new(directory.path()).join("program");
    std::fs::write(&source, GO_SOURCE).expect("the source");
    let output = Command::new("go")
        .arg("build")
        .args(options)
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .expect("golang-go is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read(&program).expect("the program")
}

/// The kernel's own shared object, as it is mapped into this process.
pub fn vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    // SAFETY: the mapping is readable, lives as long as the process and is
    // never written.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    Some(bytes.to_vec())
}
