use super::*;
use std::collections::HashMap;

const FILE: &str = "default-server = \"home\"\n[defaults]\nretries = 1\ntimeout = 11\njobs = 2\npassword-file = \"/default\"\n\
                    [servers.home]\nurl = \"tls://home\"\nuser = \"hugo\"\n\
                    [servers.work]\nurl = \"anna@work.example:7\"\nretries = 3\n";

struct Case {
    dir: tempfile::TempDir,
    environment: HashMap<String, OsString>,
}

impl Case {
    fn new(text: &str, environment: &[(&str, &str)]) -> Case {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dfos")).unwrap();
        std::fs::write(dir.path().join("dfos/client.toml"), text).unwrap();
        let mut environment: HashMap<_, _> =
            environment.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect();
        environment.insert("XDG_CONFIG_HOME".into(), dir.path().into());
        Case { dir, environment }
    }

    fn load(&self, line: &str) -> Loaded {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        load(&words, &|name| self.environment.get(name).cloned()).unwrap()
    }

    fn cli(&self, line: &str) -> Cli {
        let loaded = self.load(line);
        loaded.settings.unwrap();
        loaded.cli
    }

    fn fails(&self, line: &str) -> Failure {
        self.load(line).settings.unwrap_err()
    }
}

fn jobs(cli: &Cli) -> String {
    match &cli.command {
        Some(cli::Command::Put(put)) => format!("{:?}", put.jobs),
        _ => panic!("no put"),
    }
}

#[test]
fn an_option_beats_a_variable_that_the_table_of_the_server_and_that_the_defaults() {
    let case = Case::new(FILE, &[]);
    let retries = |case: &Case, line: &str| case.cli(line).options.retries;
    assert_eq!(retries(&case, "c ls"), 1);
    assert_eq!(retries(&case, "c --server work ls"), 3);
    assert_eq!(retries(&case, "c --server work ls --retries 5"), 5);
    let case = Case::new(FILE, &[("DFOS_RETRIES", "4")]);
    assert_eq!(retries(&case, "c --server work ls"), 4);
    assert_eq!(retries(&case, "c --server work --retries 5 ls"), 5);
    assert_eq!(retries(&case, "c --config none ls"), 4);
    let case = Case::new("", &[]);
    assert_eq!(retries(&case, "c ls"), crate::client::limits::RETRIES);
}

#[test]
fn a_server_is_chosen_by_option_variable_or_default_and_by_name_or_address() {
    let place = |environment: &[(&str, &str)], line: &str| {
        let options = Case::new(FILE, environment).cli(line).options;
        (options.address().unwrap().to_string(), options.user.unwrap_or_default())
    };
    let is = |address: &str, user: &str| (address.to_owned(), user.to_owned());
    assert_eq!(place(&[], "c ls"), is("tls://home:9000", "hugo"));
    assert_eq!(place(&[("DFOS_SERVER", "work")], "c ls"), is("tls://work.example:7", "anna"));
    assert_eq!(place(&[("DFOS_SERVER", "work")], "c --server home ls"), is("tls://home:9000", "hugo"));
    assert_eq!(place(&[("DFOS_SERVER", "work")], "c --ip 10.0.0.1 ls"), is("tls://10.0.0.1:9000", ""));
    assert_eq!(place(&[], "c --port 7 ls"), is("tls://127.0.0.1:7", ""));
    assert_eq!(place(&[], "c --server bob@other:8 ls"), is("tls://other:8", "bob"));
    assert_eq!(place(&[("DFOS_USER", "eve")], "c --server bob@other:8 ls"), is("tls://other:8", "bob"));
    assert_eq!(place(&[], "c --server bob@other:8 --user kim ls"), is("tls://other:8", "kim"));
    assert_eq!(place(&[("DFOS_USER", "eve")], "c --server work ls"), is("tls://work.example:7", "eve"));
    assert_eq!(place(&[], "c --config none ls"), is("tls://127.0.0.1:9000", ""));
    let failure = Case::new(FILE, &[]).fails("c --server wrok ls");
    assert!(failure.text.contains("did you mean 'work'") && failure.exit == Exit::Usage, "{failure}");
    assert!(Case::new(FILE, &[("DFOS_SERVER", "ftp://x")]).fails("c ls").text.starts_with("DFOS_SERVER: "));
}

#[test]
fn what_a_stronger_place_says_of_one_silences_its_rivals() {
    let file = |environment: &[(&str, &str)], line: &str| {
        Case::new(FILE, environment).cli(line).options.password_file.map(|path| path.display().to_string())
    };
    assert_eq!(file(&[], "c ls").as_deref(), Some("/default"));
    assert_eq!(file(&[("DFOS_PASSWORD", "x")], "c ls"), None, "the environment's password counts");
    assert_eq!(file(&[], "c --password-command pass ls"), None);
    assert_eq!(file(&[("DFOS_PASSWORD_COMMAND", "x")], "c --password-file /y ls").as_deref(), Some("/y"));
    let quiet = "[defaults]\nquiet = true\n";
    assert!(Case::new(quiet, &[]).cli("c ls").options.quiet);
    let loud = Case::new(quiet, &[]).cli("c -v ls").options;
    assert_eq!((loud.quiet, loud.verbose), (false, 1));
}

#[test]
fn switches_and_options_of_single_commands_come_from_the_file_too() {
    assert_eq!(jobs(&Case::new(FILE, &[]).cli("c put x")), jobs(&Case::new("", &[]).cli("c put x -j 2")));
    assert_eq!(jobs(&Case::new(FILE, &[]).cli("c put x -j 3")), jobs(&Case::new("", &[]).cli("c put x -j 3")));
    let objects = |text: &str, line: &str| Case::new(text, &[]).cli(line).options.json;
    assert_eq!(objects("[defaults]\njson = true\n", "c ls"), Some("-".into()));
    assert_eq!(objects("[defaults]\njson = false\n", "c ls"), None);
    assert_eq!(objects("[defaults]\njson = true\n", "c bench --json file"), Some("file".into()));
    assert_eq!(Case::new("[defaults]\nverbose = 2\n", &[]).cli("c ls").options.verbose, 2);
    assert!(Case::new("", &[("DFOS_QUIET", "1")]).cli("c ls").options.quiet);
    assert!(Case::new("", &[("DFOS_QUIET", "perhaps")]).fails("c ls").text.starts_with("DFOS_QUIET: "));
    assert!(Case::new("", &[("DFOS_RETRIES", "x")]).fails("c ls").text.contains("invalid value 'x'"));
}

#[test]
fn each_value_knows_who_said_it() {
    let case = Case::new(FILE, &[("DFOS_TIMEOUT", "12")]);
    let settings = case.load("c --server work --known-servers /k ls").settings.unwrap();
    let path = case.dir.path().join("dfos/client.toml");
    let origin = |key: &str| settings.get(key).map(|setting| setting.origin.clone());
    assert_eq!(origin("known-servers"), Some(Origin::Option));
    assert_eq!(origin("timeout"), Some(Origin::Variable("DFOS_TIMEOUT".into())));
    assert_eq!(origin("server"), Some(Origin::Line(path.clone(), 11)));
    assert_eq!(origin("retries"), Some(Origin::Line(path.clone(), 12)));
    assert_eq!(origin("jobs"), Some(Origin::Line(path, 5)));
    assert_eq!(origin("pin"), None);
    assert_eq!(settings.server.as_deref(), Some("work"));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let case = Case::new(FILE, &[]);
    assert_eq!(case.fails("c --config /nonexistent/file ls").exit, Exit::Local);
    assert!(case.fails("c --config /dev/null/x ls").exit == Exit::Local);
    let named = Case::new("", &[("DFOS_CONFIG", "/nonexistent/file")]);
    assert_eq!(named.fails("c ls").exit, Exit::Local);
    assert!(named.load("c --config none ls").settings.is_ok());
}
