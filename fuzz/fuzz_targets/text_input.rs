//! Any bytes as a configuration file, and as pattern and text: no panic, and patterns take linear
//! time for each star (a slow input shows as a time-out of the fuzzer).
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::config::Config;
use millstream::glob;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && !text.contains("include")
    {
        // Either is fine.
        let _ = Config::parse_file(text, Path::new("/"));
    }
    let middle = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len() / 2);
    let (pattern, text) = data.split_at(middle);
    let exact = glob::matches(pattern, text, false);
    if exact && pattern.is_ascii() && text.is_ascii() {
        let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
        let plain = !pattern.iter().any(|byte| matches!(byte, b'[' | b'\\'));
        assert!(!plain || glob::matches(&lower(pattern), text, true));
    }
});
