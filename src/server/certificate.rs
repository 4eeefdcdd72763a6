//! Where the server's certificate and key come from: the operator's two files, or a pair of the server's own, made at its first
//! start. Only a helper that soon ends reads them.

use crate::auth::trust;
use crate::net::tls::identity::{self, Identity};
use crate::net::tls::pin::Pin;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The files of a pair of the server's own, in the state directory.
const KEY: &str = "tls-key.pem";
const CERTIFICATE: &str = "tls-cert.pem";
/// Bytes of a PEM file, at most.
const LARGEST: u64 = 1 << 20;
/// A key that others of this machine can read is no secret.
const READABLE_BY_ALL: u32 = 0o004;

/// Where to find the pair.
#[derive(Debug, Clone)]
pub enum Source {
    /// The operator's files, read again on SIGHUP.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A pair of the server's own in this directory. Nobody changes it, so it is read once.
    Own(PathBuf),
}

impl Source {
    /// Whether the key is there; a server's own is made where it is not.
    pub fn is_there(&self) -> bool {
        match self {
            Source::Files { .. } => true,
            Source::Own(directory) => directory.join(KEY).exists() && directory.join(CERTIFICATE).exists(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Files { certificate, key } => write!(f, "{} and {}", certificate.display(), key.display()),
            Source::Own(directory) => write!(f, "{}", directory.display()),
        }
    }
}

/// Reads the pair, or makes it, and leaves it in `out`. Returns what clients know the server by.
pub fn load(source: &Source, out: &mut File) -> Result<Pin, String> {
    let (certificate, key) = match source {
        Source::Files { certificate, key } => (certificate.clone(), key.clone()),
        Source::Own(directory) => {
            make_missing(directory)
                .map_err(|why| format!("cannot keep a certificate in {}: {why}", directory.display()))?;
            (directory.join(CERTIFICATE), directory.join(KEY))
        }
    };
    let pair = (read(&certificate)?, read_key(&key)?);
    let unusable = |why| format!("{} with {}: {why}", certificate.display(), key.display());
    let identity = Identity::from_pem(&pair.0, &pair.1).map_err(unusable)?;
    let pin = identity.pin().map_err(unusable)?;
    out.write_all(&identity.encode()).map_err(|why| why.to_string())?;
    Ok(pin)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    contents(&trust::open(path).map_err(|why| why.to_string())?).map_err(|why| format!("{}: {why}", path.display()))
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = trust::open(path).map_err(|why| why.to_string())?;
    let mode = file.metadata().map_err(|why| format!("{}: {why}", path.display()))?.mode();
    if mode & READABLE_BY_ALL != 0 {
        return Err(format!("every user of this machine can read {}: run 'chmod o-r' on it", path.display()));
    }
    contents(&file).map_err(|why| format!("{}: {why}", path.display()))
}

fn contents(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = file.metadata()?.len().min(LARGEST) as usize + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the directory, the key and the certificate, as far as they are missing. A certificate is made for a key that is there, so
/// that clients which have pinned it go on believing.
fn make_missing(directory: &Path) -> Result<(), String> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|why| why.to_string())?;
    trust::private_directory(directory).map_err(|why| why.to_string())?;
    let (key, certificate) = (directory.join(KEY), directory.join(CERTIFICATE));
    if !key.exists() {
        let made = identity::make_key().map_err(|why| why.to_string())?;
        place(&key, made.as_bytes(), 0o600).map_err(|why| why.to_string())?;
    }
    if !certificate.exists() {
        let pem = read_key(&key)?;
        let text = std::str::from_utf8(&pem).map_err(|why| why.to_string())?;
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let made = identity::make_certificate(text, host.as_deref()).map_err(|why| why.to_string())?;
        place(&certificate, made.as_bytes(), 0o644).map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// Writes a new file, durably and whole. One that another server was faster to write stays.
fn place(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let draft = path.with_extension(hex::encode(random));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sealed;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn load_from(source: &Source) -> Result<Pin, String> {
        load(source, &mut sealed::create(c"test").unwrap())
    }

    fn own(dir: &Path) -> Source {
        Source::Own(dir.join("state"))
    }

    #[test]
    fn a_pair_is_made_once_and_a_lost_certificate_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let pin = load_from(&own(dir.path())).unwrap();
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("state"), mode("state/tls-key.pem")), (0o700, 0o600));
        assert_eq!(load_from(&own(dir.path())), Ok(pin));
        std::fs::remove_file(dir.path().join("state/tls-cert.pem")).unwrap();
        assert_eq!(load_from(&own(dir.path())), Ok(pin));
        std::fs::remove_file(dir.path().join("state/tls-key.pem")).unwrap();
        assert!(load_from(&own(dir.path())).is_err(), "a certificate without its key");
        assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 2);
    }

    #[test]
    fn a_key_or_a_directory_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_from(&own(dir.path())).unwrap();
        let set = |name: &str, mode| {
            std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
        };
        set("state", 0o755);
        assert!(load_from(&own(dir.path())).unwrap_err().contains("chmod 700"));
        set("state", 0o700);
        set("state/tls-key.pem", 0o644);
        assert!(load_from(&own(dir.path())).unwrap_err().contains("chmod o-r"));
    }
}
