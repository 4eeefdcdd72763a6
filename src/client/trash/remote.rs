//! The requests about the trash.

use crate::client::failure::Failure;
use crate::client::remote::{Remote, Replace};
use crate::proto::{Answer, RemotePath, TrashId, Trashed};
use std::time::Duration;

impl Remote {
    /// How long the server keeps what goes to the trash; `None` where this user has none. It was told at the login.
    pub fn trash_keeps(&self) -> Option<Duration> {
        self.connection.trash()
    }

    /// DELETE to the trash; what the thing is called there.
    pub fn delete_to_trash(&mut self, path: &RemotePath) -> Result<TrashId, Failure> {
        let fields = self.ok(format_args!("DELETE {path} trash"), path)?;
        self.field(fields.value("id"))
    }

    /// RMDIR to the trash, with all that is in the directory; what it is called there.
    pub fn rmdir_to_trash(&mut self, path: &RemotePath) -> Result<TrashId, Failure> {
        let fields = self.ok(format_args!("RMDIR {path} recursive trash"), path)?;
        self.field(fields.value("id"))
    }

    /// TRASH list: calls `each` for everything in the trash, as it comes; memory stays constant. An error of `each` ends the connection.
    pub fn trash_list(&mut self, each: &mut dyn FnMut(Trashed) -> Result<(), Failure>) -> Result<(), Failure> {
        self.connection.queue("TRASH list");
        let mut entries = 0;
        loop {
            match self.connection.answer()? {
                Answer::Trashed(row) => {
                    entries += 1;
                    each(row).inspect_err(|_| self.connection.abandon())?;
                }
                Answer::Ok(fields) if self.field(fields.number("entries"))? == entries => return Ok(()),
                Answer::Ok(_) => return Err(self.connection.broken("the server's listing is not complete")),
                Answer::Err(code, text) => return Err(self.connection.refused(b"", code, &text)),
                other => return Err(self.connection.unexpected(&other)),
            }
        }
    }

    /// TRASH restore, to the path `to`.
    pub fn restore(&mut self, id: &TrashId, to: &RemotePath, replace: Replace) -> Result<(), Failure> {
        let option = if replace == Replace::Replace { " replace" } else { "" };
        self.ok(format_args!("TRASH restore {id} to={to}{option}"), to).map(drop)
    }

    /// TRASH empty; how many things went.
    pub fn empty_trash(&mut self, id: Option<&TrashId>) -> Result<u64, Failure> {
        let word = id.map_or(String::new(), |id| format!(" {id}"));
        let fields = self.ok(format_args!("TRASH empty{word}"), &RemotePath::root())?;
        self.field(fields.number("entries"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Exit;
    use crate::client::fake::{Fake, Script};
    use crate::client::stop::Stop;

    #[test]
    fn a_server_whose_trash_makes_no_sense_is_not_believed() {
        for said in [
            "OK entries=1\n",
            "OK\n",
            "TRASHED 1-0000000000000001 file 1 1 a\nOK entries=2\n",
            "TRASHED 1-0000000000000001 file 1 1 ../a\nOK entries=1\n",
            "TRASHED ../../x file 1 1 a\nOK entries=1\n",
            "ENTRY file 1 1 a\nOK entries=1\n",
        ] {
            let script: Script = Box::new(move |peer| {
                assert_eq!(peer.line(), "TRASH list");
                peer.say(said);
            });
            let fake = Fake::start(0, vec![script]);
            let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
            assert_eq!(remote.trash_keeps(), None, "the welcome said nothing of a trash");
            assert_eq!(remote.trash_list(&mut |_| Ok(())).unwrap_err().exit, Exit::Protocol, "{said}");
            assert!(!remote.usable());
            drop(remote);
            fake.end();
        }
    }
}
