//! `viv screenshot`.

use crate::complete::machines;
use crate::context::Context;
use crate::display;
use crate::error::{Failure, Result};
use crate::output::now_for_file_name;
use serde_json::json;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Take a picture of a machine's display, as a PNG file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv screenshot Debian                 Debian-2026-11-21-094858.png here
  viv screenshot Debian login.png
  viv screenshot Debian - | feh -")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The file, which is replaced; `-` is standard output [default: MACHINE-DATE.png]
    file: Option<PathBuf>,
    /// Which display, counted from 0
    #[arg(long, short, value_name = "N", default_value_t = 0)]
    display: usize,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let client = display::client(context, &machine, "take a picture of").await?;
    let to_stdout = args.file.as_deref() == Some(Path::new("-"));
    if to_stdout && io::stdout().is_terminal() {
        return Err(
            Failure::new(crate::error::Kind::Usage, "A picture would only confuse the terminal").with_hint("Name a file, or pipe it on")
        );
    }
    // As a viewer sees it; where nobody can watch it, or there is nothing to see, the backend is asked for a picture.
    let png = match display::picture(&client, args.display).await {
        Some(png) => png.into(),
        None => client.screenshot(args.display).await?,
    };
    if to_stdout {
        return context.output.bytes(&png);
    }
    let file = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{}.png", file_name(&machine.name), now_for_file_name())));
    std::fs::write(&file, &png).map_err(|error| Failure::io(format!("Cannot write the picture to {}", file.display()), &error))?;
    context
        .output
        .done(&json!({ "name": machine.name, "display": args.display, "path": file, "bytes": png.len() }), file.display().to_string())
}

/// A machine's name without what cannot be in a file's.
fn file_name(name: &str) -> String {
    let safe: String = name.chars().map(|character| if character == '/' || character.is_control() { '_' } else { character }).collect();
    // A leading dot hides it, a leading dash makes it an option.
    safe.trim_start_matches(['.', '-']).to_owned()
}
