//! The server; see [`dfos::server`].

fn main() -> std::process::ExitCode {
    dfos::server::program::main()
}
