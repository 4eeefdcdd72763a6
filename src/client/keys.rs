//! The two commands about known servers. Neither connects.

use super::display::json::Object;
use super::display::output::Output;
use super::failure::{Exit, Failure};
use super::known_servers::KnownServers;
use crate::net::Address;

/// `known`: lists the servers whose keys are known.
pub fn list(output: &Output, known: Option<&KnownServers>) -> Result<(), Failure> {
    for server in in_file(known)?.all()? {
        if output.json {
            output.object(&Object::new("known").server(server.address, server.pin))?;
        } else {
            output.line(&format!("{} sha256:{}", server.address, server.pin))?;
        }
    }
    Ok(())
}

/// `forget`: the server's next key is believed after a login.
pub fn forget(output: &Output, known: Option<&KnownServers>, address: &Address) -> Result<(), Failure> {
    if !in_file(known)?.forget(address)? {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{address} is not known; 'dfos-client known' lists those that are"),
        ));
    }
    output.note(&format!("{address} is forgotten"));
    Ok(())
}

fn in_file(known: Option<&KnownServers>) -> Result<&KnownServers, Failure> {
    known.ok_or_else(|| Failure::new(Exit::Local, "there is no home directory: name the file with --known-servers"))
}
