use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
};

use super::*;

fn text(what: &str) -> impl Fn(&mut dyn Write) -> anyhow::Result<()> + '_ {
    move |to| Ok(to.write_all(what.as_bytes())?)
}

fn file(path: &Path) -> Target {
    Target::new(Some(path))
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn it_is_private_and_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("new/deep/report.json");
    file(&path).check(None).expect("it can be written");
    assert_eq!(entries(path.parent().expect("it has one")), [""; 0]);
    file(&path).write(&text("one")).expect("it was written");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "one");
    assert_eq!(path.metadata().expect("it is there").mode() & 0o777, 0o600);
    for made in ["new", "new/deep"] {
        let mode = directory
            .path()
            .join(made)
            .metadata()
            .expect("it is there")
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    // Replaced, not written over: a reader of the old one is not disturbed.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    file(&path).write(&text("two")).expect("it was written");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "two");
    assert_eq!(path.metadata().expect("it is there").mode() & 0o777, 0o600);
    assert_eq!(entries(path.parent().expect("it has one")), ["report.json"]);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("report.json");
    fs::write(&path, "old").expect("it was written");
    let error = file(&path).write(&|to| {
        to.write_all(b"half")?;
        anyhow::bail!("no such function")
    });
    assert!(matches!(error, Err(OutputError::Render(_))), "{error:?}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "old");
    assert_eq!(entries(directory.path()), ["report.json"]);
}

#[test]
fn a_full_disk_is_called_so() {
    // Its writes fail as those to a full disk do.
    let error = file(Path::new("/dev/full"))
        .write(&|to| Ok(serde_json::to_writer(to, &vec![7u8; 1 << 20])?))
        .expect_err("it is full");
    assert_eq!(
        error.to_string(),
        "cannot write /dev/full: the disk is full"
    );
}

#[test]
fn devices_are_written_into_not_replaced() {
    file(Path::new("/dev/null"))
        .check(None)
        .expect("it can be written");
    file(Path::new("/dev/null"))
        .write(&text("x"))
        .expect("it was written");
    let null = Path::new("/dev/null").metadata().expect("it is there");
    assert!(null.file_type().is_char_device());
}

#[test]
fn directories_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for path in [directory.path(), Path::new("/"), Path::new("..")] {
        let error = file(path).check(None).expect_err("a directory");
        assert!(matches!(error, OutputError::IsDirectory { .. }), "{error}");
    }
    let below_a_file = directory.path().join("file/report.json");
    fs::write(directory.path().join("file"), "").expect("it was written");
    assert!(file(&below_a_file).check(None).is_err());
}

#[test]
fn our_own_links_are_followed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let real = directory.path().join("2026-01.json");
    let link = directory.path().join("latest.json");
    fs::write(&real, "old").expect("it was written");
    symlink(&real, &link).expect("a link");
    file(&link).write(&text("new")).expect("it was written");
    assert_eq!(fs::read_to_string(&real).expect("it is there"), "new");
    assert!(link.symlink_metadata().expect("it is there").is_symlink());
}

#[test]
fn links_of_others_are_not_followed() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let victim = directory.path().join("victim");
    fs::create_dir(&victim).expect("a directory");
    fs::write(victim.join("file"), "precious").expect("it was written");
    let plant = |target: &Path, name: &str| {
        let link = shared.join(name);
        symlink(target, &link).expect("a link");
        std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).expect("we are root");
        link
    };
    let link = plant(&victim.join("file"), "report.json");
    let through_directory = plant(&victim, "reports").join("file");
    for path in [link, through_directory] {
        let error = file(&path).write(&text("x")).expect_err("it is planted");
        assert!(matches!(error, OutputError::ForeignLink { .. }), "{error}");
        assert!(file(&path).check(None).is_err());
    }
    // A user's own directory is no trap, but the link is replaced all the same.
    let home = directory.path().join("home");
    fs::create_dir(&home).expect("a directory");
    chown(&home, Some(65534), Some(65534)).expect("we are root");
    let link = home.join("report.json");
    symlink(victim.join("file"), &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).expect("we are root");
    file(&link).write(&text("x")).expect("it was written");
    assert!(!link.symlink_metadata().expect("it is there").is_symlink());
    let kept = fs::read_to_string(victim.join("file")).expect("it is there");
    assert_eq!(kept, "precious");
}

#[test]
fn a_dash_is_stdout() {
    assert_eq!(Target::new(None), Target::Stdout);
    assert_eq!(Target::new(Some(Path::new("-"))), Target::Stdout);
    assert!(Target::Stdout.check(None).is_ok());
}
