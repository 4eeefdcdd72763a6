//! The client; all of it is in the library.

fn main() -> std::process::ExitCode {
    dfos::client::run::main()
}
