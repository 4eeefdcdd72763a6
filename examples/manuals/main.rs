//! Writes the manual pages: `cargo run --example manuals -- DIRECTORY`.
//!
//! Their prose stands in docs/man/, their lists of options, keys and exit statuses come from the program itself, and dfos-protocol(7) is
//! docs/PROTOCOL.md. So no page can tell of an option that is not there, nor keep one back (tests/manuals.rs).

mod expand;
mod pages;
mod roff;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("usage: manuals DIRECTORY"));
    };
    std::fs::create_dir_all(&directory)?;
    for page in pages::all() {
        std::fs::write(Path::new(&directory).join(page.file_name()), page.render())?;
    }
    Ok(())
}
