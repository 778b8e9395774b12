//! The store on real files: who may write, what stays, and what is refused.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::config::edit::{Change, NewTenant, edited};
use crate::config::{Key, Secret};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("ccgw-store-{}", crate::ids::random_hex::<8>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// All names but the lock's.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const OLD: &str = "server:\n  port: 1234 # old\n";
const NEW: &str = "server:\n  port: 4321 # new\n";

#[track_caller]
fn refused<T>(result: Result<T, String>, part: &str) {
    match result {
        Ok(_) => panic!("accepted, without {part}"),
        Err(error) => assert!(error.contains(part), "{error}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_file_is_private_and_has_no_backup() {
    let folder = Folder::new();
    let store = Store::open(&folder.path()).unwrap();
    assert_eq!(store.text(), None);
    assert_eq!(store.replace(NEW).unwrap().backup, None);
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), NEW);
    assert_eq!(mode(&folder.path()), 0o600);
    assert_eq!(mode(&folder.0.join(".config.yaml.lock")), 0o600);
    assert_eq!(folder.names(), ["config.yaml"]);
}

#[test]
fn the_old_text_is_kept_in_a_private_backup() {
    let folder = Folder::new();
    let old = format!("\u{feff}{OLD}");
    fs::write(folder.path(), &old).unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o644)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(1234), Some(2345)).unwrap();
    }
    let owner = fs::metadata(folder.path()).unwrap().uid();
    let store = Store::open(&folder.path()).unwrap();
    assert_eq!(store.text(), Some(old.as_str()));
    let backup = store.replace(NEW).unwrap().backup.unwrap();
    assert_eq!(fs::read_to_string(&backup).unwrap(), old);
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), NEW);
    for path in [&backup, &folder.path(), &folder.0.join(".config.yaml.lock")] {
        assert_eq!(mode(path), 0o600);
        assert_eq!(fs::metadata(path).unwrap().uid(), owner);
    }
    // What is the same already is not written again.
    let store = Store::open(&folder.path()).unwrap();
    assert_eq!(store.replace(NEW).unwrap().backup, None);
    assert_eq!(folder.names().len(), 2);
}

#[test]
fn only_so_many_backups_are_kept() {
    let folder = Folder::new();
    let mine = "config.yaml.bak-mine";
    fs::write(folder.0.join(mine), "").unwrap();
    for port in 1000..1030 {
        let store = Store::open(&folder.path()).unwrap();
        store
            .replace(&format!("server: {{port: {port}}}\n"))
            .unwrap();
    }
    let names = folder.names();
    assert_eq!(names.len(), 1 + 1 + 20, "{names:?}");
    assert!(names.contains(&mine.to_owned()));
    let kept = |port: usize| {
        let texts = names
            .iter()
            .map(|name| fs::read_to_string(folder.0.join(name)).unwrap());
        texts
            .into_iter()
            .any(|text| text.contains(&port.to_string()))
    };
    assert_eq!((1000..1030).find(|port| kept(*port)), Some(1009));
}

#[test]
fn invalid_text_is_refused_with_all_its_problems() {
    let folder = Folder::new();
    fs::write(folder.path(), OLD).unwrap();
    let store = Store::open(&folder.path()).unwrap();
    let error = store.replace("prot: 1\nserver: {port: x}\n").unwrap_err();
    assert!(
        error.contains("config.yaml:1: ") && error.contains("config.yaml:2: "),
        "{error}"
    );
    let large = "#".repeat(FILE_BYTES_MAX as usize + 1);
    refused(
        Store::open(&folder.path()).unwrap().replace(&large),
        "larger than",
    );
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), OLD);
    assert_eq!(folder.names(), ["config.yaml"]);
}

#[test]
fn a_file_that_changed_meanwhile_is_left_alone() {
    #[track_caller]
    fn check(before: Option<&str>, meanwhile: Option<&str>) {
        let folder = Folder::new();
        before
            .into_iter()
            .for_each(|text| fs::write(folder.path(), text).unwrap());
        let store = Store::open(&folder.path()).unwrap();
        match meanwhile {
            Some(text) => fs::write(folder.path(), text).unwrap(),
            None => fs::remove_file(folder.path()).unwrap(),
        }
        refused(store.replace(NEW), "was changed by somebody else");
        assert_eq!(fs::read_to_string(folder.path()).ok().as_deref(), meanwhile);
        assert_eq!(folder.names().len(), meanwhile.iter().count());
    }
    check(Some(OLD), Some("# edited"));
    check(Some(OLD), None);
    check(None, Some(OLD));
}

#[test]
fn a_link_stays_a_link() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("real")).unwrap();
    let target = folder.0.join("real/ccgw.yaml");
    fs::write(&target, OLD).unwrap();
    symlink("real/ccgw.yaml", folder.path()).unwrap();
    let backup = Store::open(&folder.path())
        .unwrap()
        .replace(NEW)
        .unwrap()
        .backup;
    assert!(backup.unwrap().starts_with(folder.0.join("real")));
    assert!(folder.path().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), NEW);
    // Both names are one lock.
    let _held = Store::open(&target).unwrap();
    refused(
        Store::open_within(&folder.path(), Duration::ZERO),
        "by another ccgw",
    );
    fs::remove_file(&target).unwrap();
    refused(Store::open(&folder.path()), "cannot be found");
}

#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let folder = Folder::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path(),
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    refused(Store::open(&folder.path()), "not a regular file");
    refused(Store::open(&folder.0), "not a regular file");
    fs::remove_file(folder.path()).unwrap();
    fs::write(folder.path(), [0xff]).unwrap();
    refused(Store::open(&folder.path()), "not UTF-8");
    fs::write(folder.path(), vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
    refused(Store::open(&folder.path()), "larger than");
    refused(
        Store::open(&folder.0.join("none/config.yaml")),
        "cannot be found",
    );
}

#[test]
fn writers_at_once_lose_nothing() {
    let folder = Folder::new();
    let add = |number: usize| {
        let store = Store::open(&folder.path()).unwrap();
        let change = Change::AddTenant(NewTenant {
            name: format!("t{number}"),
            key: Key::Plain(Secret::new(format!("key-of-tenant-{number}"))),
            container: None,
            working_dir: None,
            mounts: Vec::new(),
            env: Vec::new(),
        });
        let text = edited(store.text().unwrap_or_default(), &[change]).unwrap();
        store.replace(&text).unwrap();
    };
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || add(number));
        }
    });
    let text = fs::read_to_string(folder.path()).unwrap();
    assert_eq!(text.matches("- name: t").count(), 8, "{text}");
}

#[test]
fn leftovers_of_a_crash_are_no_obstacle() {
    let folder = Folder::new();
    fs::write(folder.path(), OLD).unwrap();
    fs::write(folder.0.join(".config.yaml.lock"), "left").unwrap();
    for left in [
        ".config.yaml.ccgw-0123456789ab",
        ".config.yaml.bak-20260131-235959.ccgw-0123456789ab",
    ] {
        fs::write(folder.0.join(left), "half").unwrap();
    }
    Store::open(&folder.path()).unwrap().replace(NEW).unwrap();
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), NEW);
    assert_eq!(folder.names().len(), 2, "{:?}", folder.names());
    // A lock file that is something else is not used, nor waited for.
    fs::remove_file(folder.0.join(".config.yaml.lock")).unwrap();
    symlink(folder.path(), folder.0.join(".config.yaml.lock")).unwrap();
    refused(Store::open(&folder.path()), "cannot be opened");
}

#[test]
fn what_cannot_be_written_stays_as_it_was() {
    let folder = Folder::new();
    // The name of a backup would be longer than a name may be, which even root must obey.
    let path = folder.0.join("c".repeat(240));
    fs::write(&path, OLD).unwrap();
    refused(
        Store::open(&path).unwrap().replace(NEW),
        "cannot be written",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
    assert_eq!(folder.names().len(), 1);
    // Nobody makes a lock there.
    refused(
        Store::open(Path::new("/proc/self/status")),
        "cannot be opened",
    );
    if !rustix::process::geteuid().is_root() {
        let store = Store::open(&path).unwrap();
        fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o500)).unwrap();
        let result = store.replace(NEW);
        fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o700)).unwrap();
        refused(result, "cannot be written");
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
    }
}
