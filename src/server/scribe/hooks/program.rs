//! Whether a file may be run after what happens: it is run outside the confinement of sessions, with the rights of the server's user.

use super::Event;
use crate::auth::trust;
use crate::server::options::HookOptions;
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::path::Path;

/// Checks every program, as the user that the server runs as: what is wrong with the first that cannot be run.
pub fn check(options: &HookOptions, storage: &Path) -> Result<(), String> {
    options.programs().try_for_each(|(event, program)| check_one(event, program, storage))
}

/// Checks one.
pub fn check_one(event: Event, program: &Path, storage: &Path) -> Result<(), String> {
    judge(program, storage).map_err(|why| format!("--on-{}: {why}", event.as_str()))
}

fn judge(program: &Path, storage: &Path) -> Result<(), String> {
    let path = program.display();
    if !program.is_absolute() {
        return Err(format!("{path} is no absolute path: name the program by one"));
    }
    trust::open_own(program).map_err(|why| why.to_string())?;
    let real = fs::canonicalize(program).map_err(|why| format!("cannot open {path}: {why}"))?;
    if fs::canonicalize(storage).is_ok_and(|storage| real.starts_with(storage)) {
        return Err(format!("{path} lies in the storage directory, where users put files: keep it elsewhere"));
    }
    access(program, AccessFlags::X_OK)
        .map_err(|_| format!("the server's user cannot run {path}: run 'chmod a+rx' on it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_could_be_another_program_tomorrow_is_not_run() {
        let place = tempfile::tempdir().unwrap();
        let (storage, program) = (place.path().join("storage"), place.path().join("hook"));
        fs::create_dir(&storage).unwrap();
        let refused = |program: &Path| judge(program, &storage).unwrap_err();
        assert!(refused(&program).contains("cannot open"));
        assert!(refused(Path::new("bin/true")).contains("absolute"));
        assert!(refused(place.path()).contains("not a regular file"));
        file(&program, 0o755);
        assert_eq!(judge(&program, &storage), Ok(()));
        file(&program, 0o644);
        assert!(refused(&program).contains("cannot run"));
        file(&program, 0o757);
        assert!(refused(&program).contains("can be changed by every user"));
        file(&program, 0o755);
        fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&program).contains("can put files"));
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        // A user could exchange it, whatever way leads there.
        let (within, way) = (storage.join("hook"), place.path().join("way"));
        file(&within, 0o755);
        symlink(&within, &way).unwrap();
        for program in [&within, &way] {
            assert!(refused(program).contains("lies in the storage"));
        }
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&program, Some(12345), None).unwrap();
            assert!(refused(&program).contains("belongs to another user"));
        }
    }
}
