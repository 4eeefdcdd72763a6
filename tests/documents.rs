//! The pages name tests and files: what they name must be there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn files_below(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, into) } else { into.push(path) }
    }
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let mut files = Vec::new();
    files_below(&Path::new(ROOT).join("src"), &mut files);
    files_below(&Path::new(ROOT).join("tests"), &mut files);
    let mut sources: HashMap<String, String> = HashMap::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        // The tests of a.rs may lie in a/tests.rs.
        let place = if file.ends_with("tests.rs") { file.parent().unwrap() } else { &file };
        let stem = place.file_stem().unwrap().to_string_lossy().into_owned();
        sources.entry(stem).or_default().push_str(&text);
    }
    let page = fs::read_to_string(Path::new(ROOT).join("docs/SECURITY.md")).unwrap();
    let named: Vec<_> = quoted(&page).filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 150, "{}", named.len());
    for (file, test) in named {
        let source = sources.get(file).map_or("", String::as_str);
        let found = source.contains(&format!("fn {test}")) || source.contains(&format!("def {test}"));
        assert!(found, "there is no {file}::{test}");
    }
}

#[test]
fn every_file_that_a_page_links_to_or_names_exists() {
    for page in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/SECURITY.md",
        "docs/PROTOCOL.md",
        "docs/PERFORMANCE.md",
        "docs/RELIABILITY.md",
    ] {
        let path = Path::new(ROOT).join(page);
        let text = fs::read_to_string(&path).unwrap();
        let here = path.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| here.join(link));
        let named = quoted(&text).filter(|word| word.starts_with("src/") || word.starts_with("scripts/"));
        let named = named.filter(|word| !word.contains([' ', '<', '*', '{'])).map(|word| Path::new(ROOT).join(word));
        for file in links.chain(named) {
            assert!(file.exists(), "{page} names {}", file.display());
        }
    }
}
