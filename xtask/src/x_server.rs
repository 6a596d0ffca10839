//! An X server without a screen, and windows on it: found by their titles, photographed, and typed into.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

/// How long a program may take until it shows something, beside others on a slow computer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long between two looks at a window.
const LOOK: Duration = Duration::from_millis(200);
/// How many looks a window must stay as it is until it counts as drawn.
const STILL: u32 = 6;

/// An X server. It ends with this.
pub struct XServer {
    server: Child,
    /// What `DISPLAY` is for its clients.
    pub name: String,
}

impl XServer {
    /// Starts one with a screen of so many pixels.
    pub fn start(width: u32, height: u32) -> Result<Self> {
        let mut server = Command::new("Xvfb")
            // Otherwise it begins anew, and hears nobody meanwhile, when its last client goes.
            .args(["-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0", &format!("{width}x{height}x24")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("Could not start Xvfb; cargo xtask setup installs it")?;
        let mut number = String::new();
        // It says which display it is when it can be used.
        let told = server.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut number));
        let server = Self { server, name: format!(":{}", number.trim()) };
        match told {
            Some(Ok(_)) if !number.trim().is_empty() => Ok(server),
            _ => bail!("Xvfb did not start"),
        }
    }

    /// A program on it, drawn without a graphics card.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.name).env_remove("WAYLAND_DISPLAY").env("SLINT_BACKEND", "winit-software");
        command.stdin(Stdio::null());
        command
    }

    /// Waits until a window has this title; its number.
    pub fn window(&self, title: &str) -> Result<String> {
        let title = format!("^{title}$");
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.program("xdotool").args(["search", "--onlyvisible", "--name", &title]).output()?;
            if let Some(window) = String::from_utf8_lossy(&found.stdout).lines().next() {
                return Ok(window.to_owned());
            }
            if Instant::now() > until {
                bail!("No window was opened whose title is {title}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How large a window is.
    pub fn size(&self, window: u32) -> Result<(u32, u32)> {
        let mut geometry = self.program("xdotool");
        let said = process::output(geometry.args(["getwindowgeometry", "--shell", &window.to_string()]))?;
        let said = String::from_utf8_lossy(&said);
        let number = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        number("WIDTH").zip(number("HEIGHT")).with_context(|| format!("xdotool does not say how large the window is: {said}"))
    }

    /// Types keys into a window, as xdotool calls them.
    pub fn key(&self, window: &str, keys: &str) -> Result<()> {
        process::quiet(self.program("xdotool").args(["windowraise", window, "windowfocus", "--sync", window, "key", keys]))
    }

    /// Photographs a window when it has come to rest, into a small PNG file.
    pub fn photograph(&self, window: &str, file: &Path) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let (mut before, mut still) = (Vec::new(), 0);
        while still < STILL && Instant::now() < until {
            std::thread::sleep(LOOK);
            let now = process::output(self.program("import").args(["-window", window, "-depth", "8", "rgb:-"]))?;
            still = if is_alike(&before, &now) { still + 1 } else { 0 };
            before = now;
        }
        let mut import = self.program("import");
        import.args(["-window", window, "-strip", "+dither", "-colors", "256", "-define", "png:compression-level=9"]);
        process::quiet(import.arg(format!("PNG8:{}", file.display())))
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Whether two pictures are the same but for a text cursor, and show something.
fn is_alike(before: &[u8], now: &[u8]) -> bool {
    let different = before.iter().zip(now).filter(|(before, now)| before != now).count();
    let is_drawn = now.first().is_some_and(|first| now.iter().any(|part| part != first));
    is_drawn && before.len() == now.len() && different * 500 < now.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blinking_cursor_is_no_change_and_an_empty_window_no_picture() {
        let mut picture = vec![10; 3000];
        assert!(!is_alike(&picture, &picture), "one colour");
        picture[7] = 200;
        assert!(is_alike(&picture, &picture) && !is_alike(&[], &picture));
        let mut blinked = picture.clone();
        blinked[2000..2003].fill(99);
        assert!(is_alike(&picture, &blinked));
        blinked[1000..1100].fill(99);
        assert!(!is_alike(&picture, &blinked));
    }
}
