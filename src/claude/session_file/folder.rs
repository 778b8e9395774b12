//! What the CLI calls the directory for the sessions that began in one working directory.

use std::{fs, path::Path};

/// As many UTF-16 units of a name as the CLI keeps (measured with 2.1.330, up to paths of 315 bytes).
const KEPT: usize = 200;

/// The name of the directory for a working directory, in that of all sessions and in that for copies of images. `None`
/// where there is no such working directory, or its path is no text; the CLI does not start there.
///
/// The CLI may be told another name for the first by a variable (`CLAUDE_CODE_PROJECT_DIR_NAME`), and one of another version may
/// have another rule, so a file that is not there may be elsewhere.
pub(crate) fn folder(working_dir: &Path) -> Option<String> {
    let real = fs::canonicalize(working_dir).ok()?;
    real.to_str().map(name)
}

/// What is no letter or digit of ASCII becomes a dash, for each UTF-16 unit. A long name is cut, and ends with a hash of
/// the whole path.
fn name(path: &str) -> String {
    let plain = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '-',
    };
    let name: String = path.encode_utf16().map(plain).collect();
    match name.get(..KEPT) {
        Some(kept) if name.len() > KEPT => format!("{kept}-{}", in_base_36(hash(path))),
        _ => name,
    }
}

/// 31 times what came before, and each UTF-16 unit, in 32 bits with a sign; then without it.
fn hash(text: &str) -> u32 {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    text.encode_utf16().fold(0, add).unsigned_abs()
}

fn in_base_36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 2.1.330 has named them.
    #[test]
    fn folders_have_the_names_that_the_cli_gives_them() {
        let check = |path: &str, expect: &str| assert_eq!(name(path), expect, "{path}");
        check("/tmp/warmx/w/a.b_c d", "-tmp-warmx-w-a-b-c-d");
        check(
            "/tmp/warmx/w/\u{fc}n\u{ef}/\u{65e5}\u{672c}/\u{1f600}",
            "-tmp-warmx-w--n-------",
        );
        check("/tmp/warmx/w/e\u{301}nfd", "-tmp-warmx-w-e-nfd");
        let long = |length: usize, letter: &str| {
            let above = "/tmp/warmx/w/";
            format!("{above}{}", letter.repeat(length - above.len()))
        };
        for length in [199, 200] {
            let plain = long(length, "x").replace('/', "-");
            check(&long(length, "x"), &plain);
        }
        let cut = long(200, "x").replace('/', "-");
        check(&long(201, "x"), &format!("{cut}-39m01n"));
        let longer = format!("{}/{}\u{fc}", long(193, "y"), "z.".repeat(60));
        let kept = format!("{}-z-z-z-", long(193, "y").replace('/', "-"));
        check(&longer, &format!("{}-hkxpko", &kept[..200]));
        assert_eq!(in_base_36(0), "0");
    }

    #[test]
    fn a_working_directory_is_known_by_its_real_path() {
        let dir =
            std::env::temp_dir().join(format!("ccgw-folder-{}", crate::ids::random_hex::<8>()));
        fs::create_dir_all(dir.join("target")).unwrap();
        std::os::unix::fs::symlink("target", dir.join("link")).unwrap();
        let target = folder(&dir.join("target"));
        assert!(target.as_ref().is_some_and(|it| it.ends_with("-target")));
        assert_eq!(folder(&dir.join("link")), target);
        assert_eq!(folder(&dir.join("gone")), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
