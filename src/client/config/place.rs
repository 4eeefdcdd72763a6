//! What people type for a server: a URL, or `[user@]host[:port]`, which is one with TLS.

use crate::client::failure::{Exit, Failure};
use crate::net::Address;

/// A server, and who logs in there if that was said with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it listens.
    pub address: Address,
    /// The part before the `@`.
    pub user: Option<String>,
}

/// Reads `text`. A password in it is refused, and not repeated: `ps`, histories and logs would have it.
pub fn parse(text: &str) -> Result<Place, Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, why);
    if text.starts_with("unix:") {
        return text.parse().map(|address| Place { address, user: None }).map_err(|why| wrong(format!("{why}")));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("tls", text));
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(wrong(
            "a password does not belong into an address, where others can read it: write USER@HOST, and see \
             --password-command, --password-file and DFOS_PASSWORD; change the one that stood there"
                .into(),
        ));
    }
    if user.is_some_and(str::is_empty) {
        return Err(wrong(format!("'{text}' names no user before the @")));
    }
    if host.matches(':').count() > 1 && !host.starts_with('[') {
        return Err(wrong(format!("'{text}': an IPv6 address stands in brackets, [::1]:9000")));
    }
    let address = format!("{scheme}://{host}").parse().map_err(|why| wrong(format!("{why}")))?;
    Ok(Place { address, user: user.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_short_forms_name_a_server() {
        for (text, address, user) in [
            ("tls://files.example", "tls://files.example:9000", None),
            ("tls://anna@files.example:7", "tls://files.example:7", Some("anna")),
            ("tcp://anna@[::1]:7", "tcp://[::1]:7", Some("anna")),
            ("files.example", "tls://files.example:9000", None),
            ("files.example:7", "tls://files.example:7", None),
            ("anna@files.example", "tls://files.example:9000", Some("anna")),
            ("anna@[::1]:7", "tls://[::1]:7", Some("anna")),
            ("unix:/run/dfos@home.sock", "unix:/run/dfos@home.sock", None),
        ] {
            let place = parse(text).unwrap();
            assert_eq!((place.address.to_string().as_str(), place.user.as_deref()), (address, user), "{text}");
        }
        for bad in ["", "http://x", "host:path", "a b", "@host", "::1", "anna@", "unix:rel", "ssh://a@b"] {
            assert_eq!(parse(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in ["tls://anna:hunter2@host", "anna:hunter2@host:9000", "tls://anna:hunter@2@host", ":hunter2@host"] {
            let failure = parse(text).unwrap_err();
            assert!(failure.text.contains("--password-file") && !failure.text.contains("hunter"), "{failure}");
        }
    }
}
