//! The options of `bench`.

use crate::client::bench::plan::{Mix, Sizes, Span};
use crate::client::limits;
use clap::Args;
use std::path::PathBuf;

/// Load test.
#[derive(Debug, Clone, Args)]
#[command(after_help = BENCH_HELP)]
#[allow(missing_docs)]
pub struct Bench {
    /// Clients at the same time, each with a connection and a login of its own
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=limits::BENCH_CLIENTS))]
    pub clients: u16,
    /// End each client after M operations
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub files: Option<u64>,
    /// Sizes of files: 4KiB, 1KiB..1MiB, mixed, or a list with weights, 4KiB:90,1MiB..16MiB:10
    #[arg(long, value_name = "DIST", default_value = "mixed")]
    pub size: Sizes,
    /// What the clients do: put/get/list (in equal shares), put:50,get:40,list:10
    #[arg(long, value_name = "MIX", default_value = "put/get/list")]
    pub mix: Mix,
    /// Begin no operation after this time: 30s, 2m, 1h [default: 10s, none with --files]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Write the result to FILE as one JSON object; - is standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result to FILE as a web page with plots, which needs nothing besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What stands below the options of `bench`.
pub(super) const BENCH_HELP: &str = "\
Each client does one operation after the other and waits for its answer. It works in a directory of its own below
bench-RANDOM, which is removed at the end, also after Ctrl+C; nothing else of the user's is touched. Together the
clients keep about 1 GiB there, and at most 256 files each: then the oldest are replaced.

A range of sizes is uniform in the logarithm. mixed is 1KiB..16KiB:80,16KiB..1MiB:18,1MiB..16MiB:2. What is got was put
before, by the same client; where the mix has get or list, each puts up to 16 files before the time begins.

The content of every file is known beforehand: what the server stores, sends and lists is compared with it to the
last byte, and any difference ends the command with status 11.";
