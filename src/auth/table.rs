//! The users as sessions look them up: records in memory without a name (memfd), written once and sealed.
//!
//! The helper that loads the users file calls [`create`] and [`write()`]; it is then sealed; the listener keeps the descriptor and
//! nothing else; a session calls [`lookup`] once. Every record has the same length, so that a scan has no pieces to
//! join; the first holds the secret, each other one user as in the users file: `name:verifier`, filled up with spaces,
//! LF. What a scan has read of other users is wiped before it returns.
//!
//! A lookup reads the whole table whatever it finds, and finds something for every name, so that neither its result nor
//! its time tells who is a user. What it finds for a name of nobody has the iteration count and the salt's length of a true entry: of
//! the one that follows the name on a ring of keyed hashes. So it stays the same over restarts, and a user who is added or removed
//! changes few of them.

use super::keys;
use super::users_file::{ParsedUsers, Secret};
use super::verifier::{ITERATIONS, LONGEST_SALT, SALT};
use super::{Password, UserName, Verifier};
use crate::sys::sealed;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use zeroize::Zeroizing;

/// Bytes of a record. The place on the ring takes 17; the longest name with the longest verifier 236.
const RECORD: usize = 256;
/// Records read at once.
const CHUNK: usize = 256;

/// What a table holds for a name: a user's verifier, or one that nobody can satisfy.
#[derive(Debug)]
pub struct Found {
    verifier: Verifier,
    name: Option<UserName>,
}

impl Found {
    /// A true user.
    pub(super) fn user(name: UserName, verifier: Verifier) -> Self {
        Found { verifier, name: Some(name) }
    }

    /// Nobody: whatever the verifier, no login comes of it.
    pub(super) fn nobody(verifier: Verifier) -> Self {
        Found { verifier, name: None }
    }

    /// Whose it is, if anybody's: for the operator, never for the client.
    pub fn name(&self) -> Option<UserName> {
        self.name
    }

    /// The same, but no login comes of it. For accounts that exist and may not log in.
    pub fn bar(self) -> Found {
        Found { verifier: self.verifier, name: None }
    }

    /// The verifier, for an exchange that ends in `name_if`, or a change of it.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The same user with another verifier.
    pub(super) fn with(self, verifier: Verifier) -> Self {
        Found { verifier, ..self }
    }

    /// The login: only where the proof is right and the user exists.
    pub(super) fn name_if(self, right: bool) -> Option<UserName> {
        self.name.filter(|_| right)
    }

    /// Who logs in with this password; `None` for a wrong password and for nobody, after the same work.
    pub fn check(self, password: &Password) -> Option<UserName> {
        let right = self.verifier.matches(password);
        self.name_if(right)
    }
}

/// The salt of a name that has none of its own: always the same, and without the secret not told from a random one.
fn salt_of(secret: &[u8; 32], name: &str) -> [u8; SALT] {
    let mut salt = [0; SALT];
    salt.iter_mut().zip(longest_salt_of(secret, name)).for_each(|(to, from)| *to = from);
    salt
}

/// The same, as long as a salt can be.
fn longest_salt_of(secret: &[u8; 32], name: &str) -> [u8; LONGEST_SALT] {
    let mut salt = [0; LONGEST_SALT];
    let (first, second) = (keys::hmac(secret, &[name.as_bytes()]), keys::hmac(secret, &[b"more:", name.as_bytes()]));
    salt.iter_mut().zip(first.iter().chain(second.iter())).for_each(|(to, from)| *to = *from);
    salt
}

/// The place of a name on the ring.
fn place_of(secret: &[u8; 32], name: &str) -> u64 {
    let mut place = [0; 8];
    place.iter_mut().zip(keys::hmac(secret, &[b"ring:", name.as_bytes()]).iter()).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(place)
}

/// A new empty table: a file in memory that can be sealed.
pub fn create() -> io::Result<File> {
    sealed::create(c"dfos-users")
}

/// Writes the table. Clear passwords are hashed here, once, not at each login: some milliseconds each. `secret` must stay
/// the same over restarts, or the salts of all who are not in the file change and so give them away.
pub fn write(users: &ParsedUsers, secret: &[u8; 32], out: &mut File) -> io::Result<()> {
    out.write_all(&*record(&Zeroizing::new(hex::encode(secret)))?)?;
    for entry in &users.entries {
        let verifier = match &entry.secret {
            Secret::Scram(verifier) => verifier.clone(),
            Secret::Clear(password) => Verifier::derive(password, ITERATIONS, &salt_of(secret, entry.name.as_str())),
        };
        let line = format!("{:016x} {}:{verifier}", place_of(secret, entry.name.as_str()), entry.name);
        out.write_all(&*record(&Zeroizing::new(line))?)?;
    }
    Ok(())
}

/// A record: the text, spaces, LF.
fn record(text: &str) -> io::Result<Zeroizing<[u8; RECORD]>> {
    let mut record = Zeroizing::new([b' '; RECORD]);
    let (last, room) = record.split_last_mut().ok_or(io::ErrorKind::InvalidInput)?;
    *last = b'\n';
    room.get_mut(..text.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(text.as_bytes());
    Ok(record)
}

/// Looks a name up, any text. Reads at stated offsets only: a descriptor that was forked shares its position with others.
pub fn lookup(table: &File, name: &str) -> io::Result<Found> {
    scan(table, table.metadata()?.len(), name)
}

/// The lookup itself, over anything that can be read at an offset.
fn scan(table: &impl FileExt, length: u64, name: &str) -> io::Result<Found> {
    if !length.is_multiple_of(RECORD as u64) {
        return Err(damaged());
    }
    let secret = read_secret(table)?;
    let here = place_of(&secret, name);
    let mut known = None;
    // The nearest entry after the name's own place, and how far it is.
    let (mut neighbour, mut nearest) = (None, u64::MAX);

    let mut at = RECORD as u64;
    let mut chunk = Zeroizing::new(vec![0; length.saturating_sub(at).min((CHUNK * RECORD) as u64) as usize]);
    while at < length {
        let size = (length - at).min(chunk.len() as u64) as usize;
        let bytes = chunk.get_mut(..size).ok_or(io::ErrorKind::InvalidData)?;
        table.read_exact_at(bytes, at)?;
        for record in bytes.as_chunks::<RECORD>().0 {
            let Some((place, of)) = place_and_name(record) else { return Err(damaged()) };
            if of == name.as_bytes() {
                known = Some(Zeroizing::new(*record));
            }
            let far = place.wrapping_sub(here);
            if far <= nearest {
                (neighbour, nearest) = (Some(Zeroizing::new(*record)), far);
            }
        }
        at += size as u64;
    }
    // The decoy is made for true users as well, and goes through the same text as a record: only the choice at the end differs.
    let decoy = record(&format!("{here:016x} _:{}", *decoy_like(neighbour, &secret, name)?))?;
    let (holder, verifier) = parse(known.as_ref().unwrap_or(&decoy)).ok_or_else(damaged)?;
    Ok(if known.is_some() { Found::user(holder, verifier) } else { Found::nobody(verifier) })
}

/// The text of a verifier that nobody can satisfy, with the iterations and the length of salt of `neighbour`.
fn decoy_like(
    neighbour: Option<Zeroizing<[u8; RECORD]>>,
    secret: &[u8; 32],
    name: &str,
) -> io::Result<Zeroizing<String>> {
    let (iterations, length) = match neighbour {
        Some(record) => {
            let (_, verifier) = parse(&record).ok_or_else(damaged)?;
            (verifier.iterations(), verifier.salt().len())
        }
        None => (ITERATIONS, SALT),
    };
    let salt = longest_salt_of(secret, name);
    let salt = salt.get(..length).ok_or_else(damaged)?;
    Ok(Zeroizing::new(Verifier::decoy(iterations, salt)?.to_string()))
}

/// The first record: the secret.
fn read_secret(table: &impl FileExt) -> io::Result<Zeroizing<[u8; 32]>> {
    let (mut first, mut secret) = (Zeroizing::new([0; RECORD]), Zeroizing::new([0; 32]));
    table.read_exact_at(&mut *first, 0)?;
    hex::decode_to_slice(first.trim_ascii_end(), &mut *secret).map_err(|_| damaged())?;
    Ok(secret)
}

/// The place on the ring, and what stands between it and the colon. A claimed name that holds a colon itself therefore equals none.
fn place_and_name(record: &[u8; RECORD]) -> Option<(u64, &[u8])> {
    let (place, rest) = record.split_at_checked(16)?;
    let mut bytes = [0; 8];
    hex::decode_to_slice(place, &mut bytes).ok()?;
    let rest = rest.strip_prefix(b" ")?;
    Some((u64::from_be_bytes(bytes), rest.get(..rest.iter().position(|&b| b == b':')?)?))
}

fn parse(record: &[u8; RECORD]) -> Option<(UserName, Verifier)> {
    let (_, entry) = std::str::from_utf8(record).ok()?.trim_ascii_end().split_once(' ')?;
    let (name, verifier) = entry.split_once(':')?;
    Some((name.parse().ok()?, verifier.parse().ok()?))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the table of users is damaged; reload it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::users_file;
    use crate::auth::verifier::{FEWEST_ITERATIONS, MOST_ITERATIONS};
    use std::cell::RefCell;

    const SECRET: [u8; 32] = [5; 32];

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn quick(text: &str) -> Verifier {
        Verifier::derive(&password(text), FEWEST_ITERATIONS, b"salt")
    }

    fn table_of(text: &str) -> File {
        let mut table = create().unwrap();
        write(&users_file::parse(text.as_bytes()), &SECRET, &mut table).unwrap();
        sealed::seal(&table).unwrap();
        table
    }

    /// Writes down which bytes are read.
    struct Watched<'a>(&'a File, RefCell<Vec<(u64, usize)>>);

    impl FileExt for Watched<'_> {
        fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
            self.1.borrow_mut().push((at, bytes.len()));
            self.0.read_at(bytes, at)
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn users_log_in_with_their_own_password_only() {
        let table = table_of(&format!("alice:secret\nbob:{}\n", quick("builder")));
        assert_eq!(lookup(&table, "alice").unwrap().check(&password("secret")).unwrap().as_str(), "alice");
        assert_eq!(lookup(&table, "bob").unwrap().check(&password("builder")).unwrap().as_str(), "bob");
        assert!(lookup(&table, "bob").unwrap().check(&password("secret")).is_none());
    }

    #[test]
    fn nobody_logs_in_even_with_a_password_that_matches() {
        assert!(Found::user("a".parse().unwrap(), quick("x")).check(&password("x")).is_some());
        assert!(Found::nobody(quick("x")).check(&password("x")).is_none());
    }

    #[test]
    fn an_unknown_user_looks_like_one_with_a_clear_password() {
        let table = table_of("alice:secret\n");
        let known = lookup(&table, "alice").unwrap();
        let unknown = lookup(&table_of(""), "alice").unwrap();
        assert_eq!(known.verifier.salt(), unknown.verifier.salt());
        assert_eq!(known.verifier.iterations(), unknown.verifier.iterations());
        assert_ne!(unknown.verifier.salt(), lookup(&table, "bob").unwrap().verifier.salt());
        assert!(unknown.name.is_none());
    }

    #[test]
    fn known_and_unknown_names_cost_the_same_reads() {
        let line = quick("x").to_string();
        let users: String = (0..1000).map(|n| format!("u{n}:{line}\n")).collect();
        let table = table_of(&users);
        let length = table.metadata().unwrap().len();
        let reads = |name: &str| {
            let watched = Watched(&table, RefCell::default());
            let found = scan(&watched, length, name).unwrap();
            (watched.1.into_inner(), found.name.is_some())
        };
        let (all, known) = reads("u0");
        assert!(known);
        assert_eq!(all.iter().map(|(_, size)| *size as u64).sum::<u64>(), length);
        for (name, known) in [("u500", true), ("u999", true), ("nobody", false), ("", false), ("Not A Name", false)] {
            assert_eq!(reads(name), (all.clone(), known), "{name}");
        }
    }

    #[test]
    fn no_claimed_name_reaches_into_a_record() {
        let table = table_of(&format!("alice:{}\n", quick("x")));
        let secret = hex::encode(SECRET);
        for name in [
            "alice:",
            "alice:SCRAM-SHA-256$4096",
            "alic",
            "alice ",
            "_",
            "",
            " ",
            &secret,
            "alice\0",
            &"a".repeat(5000),
        ] {
            assert!(lookup(&table, name).unwrap().name.is_none(), "{name}");
        }
    }

    #[test]
    fn the_longest_entry_fits_a_record() {
        let verifier = quick("x").to_string().replacen("4096:c2FsdA==", "10000000:c2FsdA==", 1);
        let salt = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [1; LONGEST_SALT]);
        let longest = format!("{}:{}", "a".repeat(32), verifier.replacen("c2FsdA==", &salt, 1));
        assert_eq!(lookup(&table_of(&longest), &"a".repeat(32)).unwrap().verifier.iterations(), MOST_ITERATIONS);
    }

    #[test]
    fn a_sealed_table_cannot_change_and_a_lookup_moves_no_position() {
        let mut table = table_of("a:b\n");
        assert!(table.write_all(b"x").is_err());
        assert!(table.set_len(0).is_err());
        assert!(sealed::seal(&table).is_err());
        let before = io::Seek::stream_position(&mut table).unwrap();
        lookup(&table, "a").unwrap();
        assert_eq!(io::Seek::stream_position(&mut table).unwrap(), before);
    }

    #[test]
    fn a_damaged_table_is_an_error_and_no_login() {
        assert!(lookup(&create().unwrap(), "a").is_err());
        let (table, mut copy) = (table_of("a:b\n"), create().unwrap());
        let mut half = [0; 300];
        table.read_exact_at(&mut half, 0).unwrap();
        copy.write_all(&half).unwrap();
        assert!(lookup(&copy, "a").is_err());
    }
}
