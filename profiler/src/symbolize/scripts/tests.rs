//! A bundle that esbuild 0.28.2 made of two files in TypeScript
//! (`--bundle --platform=node --minify --sourcemap`), and files that lie.

use std::{fs, os::fd::AsFd, os::unix::fs::chown, path::Path};

use super::{super::open_root, *};

const BUNDLE: &str = r#"function a(e){let t=0;for(let o of e)t=(t*31+o)%1000003;return{sum:t,count:e.length}}var n=class{kept=[];keep(t){this.kept.push(t)}total=()=>a(this.kept)};var r=new n;for(let e=0;e<2e3;e++)r.keep(e);var s=async e=>{let t=[];for(let o=0;o<e;o++)t[o%16]=r.total();return t},l=Date.now()+1e3*Number(process.argv[2]??10);async function u(){for(;Date.now()<l;)await s(1e3)}u();"#;
const MAPPINGS: &str = "AAGO,SAASA,EAAMC,EAAmC,CACvD,IAAIC,EAAc,EAClB,QAAWC,KAASF,EAClBC,GAAOA,EAAM,GAAKC,GAAS,QAE7B,MAAO,CAAE,IAAAD,EAAK,MAAOD,EAAO,MAAO,CACrC,CAEO,IAAMG,EAAN,KAAa,CACD,KAAiB,CAAC,EACnC,KAAKD,EAAqB,CACxB,KAAK,KAAK,KAAKA,CAAK,CACtB,CACA,MAAQ,IACCH,EAAM,KAAK,IAAI,CAE1B,ECjBA,IAAMK,EAAS,IAAIC,EACnB,QAASC,EAAQ,EAAGA,EAAQ,IAAMA,IAASF,EAAO,KAAKE,CAAK,EAE5D,IAAMC,EAAa,MAAOC,GAAqC,CAC7D,IAAMC,EAAgB,CAAC,EACvB,QAASC,EAAO,EAAGA,EAAOF,EAAOE,IAC/BD,EAAIC,EAAO,EAAE,EAAIN,EAAO,MAAM,EAEhC,OAAOK,CACT,EAEME,EAAM,KAAK,IAAI,EAAI,IAAO,OAAO,QAAQ,KAAK,CAAC,GAAK,EAAE,EAC5D,eAAeC,GAAsB,CACnC,KAAO,KAAK,IAAI,EAAID,GAAK,MAAMJ,EAAW,GAAI,CAChD,CACAK,EAAK";

/// Where the function in the bundle has its parameters, and where in it.
const FUNCTIONS: [(&str, &str, &str); 6] = [
    ("a", "(e){let t=0", "t=(t*31+o)"),
    ("keep", "(t){this.kept", "push(t)"),
    ("total", "()=>a(", "a(this.kept)"),
    ("s", "(e)=>", "r.total()"),
    ("s", "e=>{let t=[]", "r.total()"),
    ("u", "(){for(;Date", "s(1e3)"),
];

fn map() -> String {
    format!(
        r#"{{"version":3,"sources":["../src/totals.ts","../src/main.ts"],"sourcesContent":[null,null],
        "mappings":"{MAPPINGS}",
        "names":["addUp","values","sum","value","Keeper","keeper","Keeper","index","repeatedly",
            "times","all","time","end","main"]}}"#
    )
}

fn place(needle: &str) -> Option<Place> {
    let column = u32::try_from(BUNDLE.find(needle)?).expect("a short text");
    Some(Place { line: 0, column })
}

fn frames() -> Vec<GeneratedFrame<'static>> {
    FUNCTIONS
        .into_iter()
        .map(|(name, parameters, at)| GeneratedFrame {
            name,
            place: place(at),
            parameters: place(parameters),
        })
        .collect()
}

fn shown(frames: &[Option<OriginalFrame>]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| match frame {
            None => "unknown".to_owned(),
            Some(frame) => format!(
                "{} {}:{}:{} from {}",
                frame.name.as_deref().unwrap_or("-"),
                frame.file,
                frame.line,
                frame.column,
                frame.first_line
            ),
        })
        .collect()
}

const EXPECTED: [&str; 6] = [
    "addUp /srv/src/totals.ts:7:5 from 4",
    "- /srv/src/totals.ts:15:15 from 14",
    "- /srv/src/totals.ts:18:12 from 17",
    "- /srv/src/main.ts:9:22 from 0",
    "repeatedly /srv/src/main.ts:9:22 from 6",
    "main /srv/src/main.ts:16:34 from 15",
];

#[test]
fn a_bundle_in_terms_of_its_sources() {
    let found = translate(
        BUNDLE.as_bytes(),
        map().as_bytes(),
        "/srv/dist/x.map",
        &frames(),
    );
    assert_eq!(shown(&found.unwrap()), EXPECTED);
}

/// As some compilers write it, a name is at the parenthesis; and a function
/// is built into another.
#[test]
fn names_at_parentheses_and_code_of_other_files() {
    let script = b"let f=(a)=>{g()}; glue()";
    // Columns 6 with the name, 12 of another source, 18 of none.
    let map = br#"{"version":3,"sources":["a.ts","webpack://b/./c.ts"],"names":["named"],
        "mappings":"MAAAA,MCCA,M"}"#;
    let frame = |name, place, parameters| GeneratedFrame {
        name,
        place: Some(Place {
            line: 0,
            column: place,
        }),
        parameters: Some(Place {
            line: 0,
            column: parameters,
        }),
    };
    let frames = [
        frame("f", 7, 6),
        frame("f", 12, 6),
        frame("(anonymous)", 7, 7),
        frame("glue", 19, 22),
    ];
    let found = translate(script, map, "/x/y.js", &frames).unwrap();
    assert_eq!(
        shown(&found),
        [
            "named /x/a.ts:1:1 from 1",
            "named webpack://b/./c.ts:2:1 from 0",
            "- /x/a.ts:1:1 from 1",
            "unknown"
        ]
    );
}

/// A root with `/srv/dist/x.js` in it.
struct Root(tempfile::TempDir);

impl Root {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("srv/dist")).expect("a directory");
        let root = Self(directory);
        fs::write(root.path("x.js"), script).expect("the script");
        root
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("srv/dist").join(name)
    }

    fn translation(&self, started: SystemTime) -> Translation {
        let root = open_root(self.0.path()).expect("the root");
        let script = Script {
            path: "/srv/dist/x.js".to_owned(),
            frames: frames(),
        };
        let time = Duration::from_secs(10);
        let found = originals(root.as_fd(), started, time, std::slice::from_ref(&script));
        match found {
            Ok(found) => found.into_iter().next().expect("one script"),
            Err(error) => Translation::Failed(error.to_string()),
        }
    }
}

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

fn with_comment(url: &str) -> String {
    format!("{BUNDLE}\n//# sourceMappingURL={url}\n")
}

fn is_translated(translation: &Translation) -> bool {
    matches!(translation, Translation::Translated(frames) if shown(frames) == EXPECTED)
}

#[test]
fn maps_beside_and_in_the_script() {
    let root = Root::new(&with_comment("../dist/x.js.map"));
    assert_eq!(root.translation(later()), Translation::Untouched, "no map");
    fs::write(root.path("x.js.map"), map()).unwrap();
    assert!(is_translated(&root.translation(later())));

    use base64::Engine;
    let inline = base64::engine::general_purpose::STANDARD.encode(map());
    let root = Root::new(&with_comment(&format!(
        "data:application/json;base64,{inline}"
    )));
    assert!(is_translated(&root.translation(later())));
    assert_eq!(
        Root::new(BUNDLE).translation(later()),
        Translation::Untouched
    );
    assert_eq!(Root::new("").translation(later()), Translation::Untouched);
}

#[test]
fn what_is_newer_than_the_process_is_not_used() {
    let root = Root::new(&with_comment("x.js.map"));
    fs::write(root.path("x.js.map"), map()).unwrap();
    let earlier = SystemTime::now() - Duration::from_secs(60);
    assert_eq!(root.translation(earlier), Translation::Newer);
    let script = File::options().write(true).open(root.path("x.js")).unwrap();
    script
        .set_modified(earlier - Duration::from_secs(1))
        .unwrap();
    assert_eq!(root.translation(earlier), Translation::Newer, "the map");
    let map = File::options()
        .write(true)
        .open(root.path("x.js.map"))
        .unwrap();
    map.set_modified(earlier - Duration::from_secs(1)).unwrap();
    assert!(is_translated(&root.translation(earlier)));
}

#[test]
fn nothing_leads_out_of_the_root() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), map()).unwrap();
    let path = outside.path().display();
    let root = Root::new(&with_comment(&format!("../../../../../../{path}")));
    assert_eq!(root.translation(later()), Translation::Untouched);
    fs::write(root.path("x.js"), with_comment("x.js.map")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path("x.js.map")).unwrap();
    assert_eq!(root.translation(later()), Translation::Untouched);
    fs::remove_file(root.path("x.js.map")).unwrap();
    fs::create_dir(root.path("x.js.map")).unwrap();
    assert_eq!(root.translation(later()), Translation::Untouched);
}

#[test]
fn a_map_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = Root::new(&with_comment("x.js.map"));
    fs::write(root.path("x.js.map"), map()).unwrap();
    let own = |path: &Path, user| chown(path, Some(user), None).unwrap();
    own(&root.path("x.js.map"), 1001);
    assert!(matches!(root.translation(later()), Translation::Failed(_)));
    own(&root.path("x.js"), 1001);
    assert!(is_translated(&root.translation(later())));
    own(&root.path("x.js.map"), 0);
    assert!(is_translated(&root.translation(later())), "root's");
}

#[test]
fn damage_is_bounded() {
    let failed = |map: &[u8]| {
        let root = Root::new(&with_comment("x.js.map"));
        fs::write(root.path("x.js.map"), map).unwrap();
        let started = Instant::now();
        let translation = root.translation(later());
        assert!(started.elapsed() < Duration::from_secs(15));
        matches!(translation, Translation::Failed(_))
    };
    assert!(failed(b"{"));
    assert!(failed(&[0; 4096]));
    assert!(failed("[".repeat(1 << 20).as_bytes()));

    let root = Root::new(&with_comment("x.js.map"));
    let sparse = |name, length| {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false);
        let file = file.open(root.path(name)).expect("the file");
        file.set_len(length).expect("a file with holes");
    };
    sparse("x.js.map", 1 << 40);
    assert!(matches!(root.translation(later()), Translation::Failed(_)));
    sparse("x.js", 1 << 40);
    assert_eq!(root.translation(later()), Translation::Untouched);
}
