//! The client's configuration file, as a person has it: named servers, who beats whom, what is refused.

mod common;

use common::Server;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A user with a configuration file.
struct User {
    home: tempfile::TempDir,
}

impl User {
    fn new(text: &str) -> User {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".config/dfos")).unwrap();
        let user = User { home };
        fs::write(user.file(), text).unwrap();
        fs::write(user.home.path().join("password"), "secret\n").unwrap();
        fs::set_permissions(user.home.path().join("password"), fs::Permissions::from_mode(0o600)).unwrap();
        user
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(".config/dfos/client.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        command.env_clear().env("HOME", self.home.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it, which must end so; both outputs.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.run(arguments);
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {out}{err}");
        (out, err)
    }
}

fn config_of(server: &Server) -> String {
    let address = server.listening[0].split("://").nth(1).unwrap();
    format!(
        "default-server = \"work\"\n[defaults]\nretries = 0\npassword-file = \"~/password\"\n\
         [servers.work]\nurl = \"alice@{address}\"\n\
         [servers.wrong]\nurl = \"tls://{address}\"\nuser = \"bob\"\n"
    )
}

#[test]
fn named_servers_are_used_with_their_user_and_password() {
    let server = Server::start(&["--listen", "tls://127.0.0.1:0"]);
    let user = User::new(&config_of(&server));
    user.ends(&["mkdir", "d"], 0);
    assert_eq!(user.ends(&["--server", "work", "ls"], 0).0, "d\n");
    user.ends(&["--server", "wrong", "ls"], 5); // alice's password
    assert_eq!(user.ends(&["--server", "wrong", "--user", "alice", "ls"], 0).0, "d\n");
    let by_variable =
        user.command(&["ls"]).env("DFOS_SERVER", "wrong").env("DFOS_PASSWORD", "builder").output().unwrap();
    assert!(by_variable.status.success(), "the environment's password beats the file's: {by_variable:?}");
    let (_, err) = user.ends(&["--server", "wrok", "ls"], 2);
    assert!(err.contains("did you mean 'wo") || err.contains("did you mean 'wr"), "{err}");
    let (_, err) = user.ends(&["--config", "none", "--server", "alice:hunter2@127.0.0.1:1", "ls"], 2);
    assert!(err.contains("--password-file") && !err.contains("hunter2"), "{err}");
    server.stop();
}

#[test]
fn what_holds_is_shown_with_who_said_it_and_secrets_are_not() {
    let text =
        "[defaults]\ntimeout = 7\npassword-command = \"echo hunter2\"\n[servers.work]\nurl = \"anna@files.example\"\n";
    let user = User::new(text);
    let file = user.file().display().to_string();
    let shown = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = shown(user.command(&["--server", "work", "--retries", "3", "config", "show"]).env("DFOS_JOBS", "2"));
    let row = |key: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("{key}: {text}")).split_whitespace().collect::<Vec<_>>()[1..].join(" ")
    };
    assert_eq!(row("server"), format!("tls://files.example:9000 {file}:5"));
    assert_eq!(row("user"), format!("anna {file}:5"));
    assert_eq!(row("timeout"), format!("7 {file}:2"));
    assert_eq!(row("retries"), "3 option");
    assert_eq!(row("jobs"), "2 variable DFOS_JOBS");
    assert_eq!(row("quiet"), "false default");
    assert_eq!(row("password-command"), format!("echo ******** {file}:3"));
    assert!(!text.contains("hunter2"), "{text}");
    let text = shown(user.command(&["config", "--json"]).env("DFOS_PASSWORD", "hunter3"));
    assert!(
        text.contains(
            r#"{"v":1,"event":"config","key":"password","value":"********","origin":"variable DFOS_PASSWORD"}"#
        ),
        "{text}"
    );
    assert!(!text.contains("hunter"), "{text}");
    assert_eq!(shown(&mut user.command(&["config", "path"])), format!("{file}\n"));
    assert_eq!(shown(&mut user.command(&["config", "servers"])), "work  tls://files.example:9000  user anna\n");
}

#[test]
fn a_file_that_is_wrong_stops_every_command_that_connects_and_says_where() {
    let user = User::new("[defaults]\nretires = 3\n");
    for arguments in [&["ls"][..], &["config", "show"], &["known"]] {
        let (_, err) = user.ends(arguments, 2);
        assert!(err.contains("client.toml line 2: there is no key 'retires'; did you mean 'retries'?"), "{err}");
    }
    user.ends(&["--config", "none", "known"], 0);
    user.ends(&["help"], 0);
    user.ends(&["completions", "bash"], 0);
    fs::write(user.file(), "").unwrap();
    fs::set_permissions(user.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let (_, err) = user.ends(&["known"], 10);
    assert!(err.contains("chmod go-w"), "{err}");
    let (_, err) = user.ends(&["--config", "/nonexistent", "known"], 10);
    assert!(err.contains("there is no configuration file /nonexistent"), "{err}");
}

#[test]
fn options_of_single_commands_hold_in_the_shell_too() {
    let server = Server::start(&["--listen", "tls://127.0.0.1:0"]);
    let user = User::new(&config_of(&server).replace("retries = 0", "retries = 0\njobs = \"nonsense\""));
    assert!(user.ends(&["ls"], 2).1.contains("line 4: invalid value 'nonsense' for '--jobs"));
    let user = User::new(&config_of(&server));
    let mut shell = user.command(&["shell"]);
    shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"mkdir x\nls\nconfig show\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not of the shell"), "{output:?}");
    server.stop();
}
