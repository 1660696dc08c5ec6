//! A terminal that a program draws on: a tmux server of the test's own, whose screen is read and whose keys are pressed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pyprof_tests::Scratch;

pub struct Screen {
    scratch: Scratch,
    /// Names the server's socket, which nobody else has.
    name: &'static str,
}

/// Longer than any screen takes to come, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

impl Screen {
    /// Runs a shell that never reads a file of the user's on a terminal of this size and kind.
    pub fn new(width: u32, height: u32, kind: &str) -> Screen {
        let screen = Screen { scratch: Scratch::new("tmux"), name: "top" };
        let config = screen.scratch.path().join("tmux.conf");
        let text =
            format!("set -g default-terminal {kind}\nset -g escape-time 0\nset -g history-limit 5000\n");
        std::fs::write(&config, text).expect("a file");
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let mut command = screen.command();
        command.arg("-f").arg(&config).args(["new-session", "-d"]).args(size);
        command.args(["env", "-u", "NO_COLOR", "PS1=$ ", "bash", "--noprofile", "--norc", "-i"]);
        let status = command.status().expect("tmux runs; cargo xtask test installs it");
        assert!(status.success(), "tmux: {status}");
        screen.wait("$");
        screen
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.env("TMUX_TMPDIR", self.scratch.path()).env_remove("TMUX").args(["-L", self.name]);
        command
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("tmux runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tmux {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Types a line into the shell.
    pub fn run(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Presses keys by tmux's names of them.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// With what sets colours.
    pub fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// A variable of tmux's, such as `alternate_on`.
    pub fn state(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    pub fn wait(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// The first screen of which that is true.
    pub fn wait_for(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is(&text) {
                return text;
            }
            assert!(Instant::now() < until, "never on the screen: {what}\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Ends all that runs in it; gone already is fine.
        let _ = self.command().arg("kill-server").output();
    }
}
