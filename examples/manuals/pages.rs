//! The pages: what each is called, and where its text comes from.

use super::{expand, roff};

/// A manual page.
pub struct Page {
    /// Its name.
    pub name: &'static str,
    /// The section of the manual (man(1)).
    pub section: u8,
    /// What it is about, in one line.
    pub about: &'static str,
    /// Its prose, in Markdown, with places for the lists.
    pub source: &'static str,
}

/// All of them.
pub fn all() -> [Page; 6] {
    [
        Page {
            name: "dfos-forkd",
            section: 8,
            about: "multi-user file server",
            source: include_str!("../../docs/man/dfos-forkd.8.md"),
        },
        Page {
            name: "dfos-client",
            section: 1,
            about: "put files on a DFOS server, and get them back",
            source: include_str!("../../docs/man/dfos-client.1.md"),
        },
        Page {
            name: "forkd.toml",
            section: 5,
            about: "configuration of dfos-forkd",
            source: include_str!("../../docs/man/forkd.toml.5.md"),
        },
        Page {
            name: "id_passwd",
            section: 5,
            about: "users of dfos-forkd",
            source: include_str!("../../docs/man/id_passwd.5.md"),
        },
        Page {
            name: "user_limits.toml",
            section: 5,
            about: "what users of dfos-forkd may do and take",
            source: include_str!("../../docs/man/user_limits.toml.5.md"),
        },
        Page {
            name: "dfos-protocol",
            section: 7,
            about: "what clients and servers of DFOS say to each other",
            source: include_str!("../../docs/PROTOCOL.md"),
        },
    ]
}

impl Page {
    /// What its file is called.
    #[allow(dead_code)] // the tests write no files
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The page as man(1) reads it.
    pub fn render(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut out = roff::Roff::begin(self.name, self.section, &format!("dfos {version}"), self.about);
        out.markdown(&expand::expand(self.source));
        out.end()
    }
}
