//! What goes where: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::failure::Outcome;

/// The version of every JSON document's keys: keys may be added within one version, not changed.
pub const SCHEMA: u32 = 1;

/// Prints text as a result; adds the last line's end where it is missing.
pub fn text(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints bytes as a result, as they are.
pub fn raw(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Prints a document as a result, with the `schema` number first.
pub fn json(document: Value) -> Outcome {
    let mut whole = serde_json::Map::new();
    whole.insert("schema".into(), SCHEMA.into());
    if let Value::Object(keys) = document {
        whole.extend(keys.into_iter().filter(|(key, _)| key != "schema"));
    }
    text(&format!("{:#}", Value::Object(whole)))
}

/// Says something beside the result.
pub fn note(text: std::fmt::Arguments<'_>) {
    // Nothing can be done about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether `--json` output or people will read this: bars and colours only on a terminal, and not with `NO_COLOR`.
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table of plain columns: as wide as its contents where no person watches.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: usize) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
