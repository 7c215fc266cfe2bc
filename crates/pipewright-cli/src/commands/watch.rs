//! `pipewright watch`: the live view of a pipeline that somebody else has started, full-screen.

mod choice;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright::poll::{Deadline, poll_until_signal};
use pipewright_observe::topology::Scan;
use pipewright_observe::{Activity, Intervals, Process, Sampler};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use rustix::event::{PollFd, PollFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};

use self::choice::Choice;
use crate::cli;
use crate::disposition;
use crate::inherited;
use crate::observation::Observation;
use crate::progress::look::Follower;
use crate::progress::words::Named;
use crate::view::charset;
use crate::view::guard::Guard;
use crate::view::live::Frame;
use crate::view::style::{Palette, Row, Tone};
use crate::view::summary::OfOthers;
use crate::view::{self, terminal, text};

/// Between two pictures.
const REPAINT: Duration = Duration::from_millis(200);

/// The status where there are several pipelines to choose from.
const SEVERAL: u8 = 2;

const HELP: &str = "q  quit\nf  freeze, and go on\nj k  move to the next stage, and back\n\
                    e  the whole command line of the stage\n?  this help";

pub(crate) fn watch(options: &cli::Watch) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        anyhow::bail!("watch needs a terminal; for a program there is pipewright ls --json");
    }
    if terminal::is_dumb() {
        anyhow::bail!(
            "watch needs a terminal that moves its cursor, and TERM says that this one does not; \
             pipewright ls shows what the stages do now"
        );
    }
    let pid = match options
        .pid
        .map_or_else(choice::choose, |pid| Ok(Choice::Only(pid)))?
    {
        Choice::Only(pid) => pid,
        Choice::Several(pipelines) => {
            let pipelines = pipelines.join("\n");
            view::complain(&format!(
                "several pipelines of yours are running; watch one by its number:\n{pipelines}"
            ));
            return Ok(ExitCode::from(SEVERAL));
        }
        Choice::None => {
            view::complain(
                "no pipeline of yours is running; pipewright ls lists all that you may look at",
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    let sampler = attach(pid, options.interval)?;
    let stages = sampler.layout().stages.iter().map(|stage| stage.process);
    let input = Follower::start(stages, Named::ByArguments, None);
    let mut screen = Screen {
        observation: Observation::new(sampler),
        input,
        started: Instant::now(),
        coloured: options.color != cli::When::Never && !terminal::has_no_color(),
        selected: 0,
        frozen: None,
        expanded: false,
        help: false,
    };

    let signals = Signals::catch().context("cannot catch signals")?;
    let mut held = Held::take()?;
    let result = screen.run(&mut held, &signals);
    drop(held);
    result?;
    screen.observation.look_at_end();
    let summary = OfOthers {
        observed: &screen.observation.into_observed(),
        palette: Palette::new(options.color, &std::io::stdout()),
        width: terminal::size(std::io::stdout()).map_or(usize::MAX, |(columns, _)| columns),
    };
    view::say(&summary.to_string())?;
    match signals.end.load(Ordering::Relaxed) {
        0 => Ok(ExitCode::SUCCESS),
        signal => disposition::die_of(signal as i32),
    }
}

fn attach(pid: u32, interval: Duration) -> anyhow::Result<Sampler> {
    let intervals = Intervals {
        figures: interval,
        ..Intervals::default()
    };
    let mut tries = 5;
    loop {
        Process::open(pid)?; // or there is no such process
        let pipeline = Scan::now()?.pipeline_of(pid)?;
        let attached = Sampler::attach(&pipeline, intervals);
        tries -= 1;
        match attached {
            // A short-lived process had an end of a pipe when the others were looked at.
            Err(error) if error.is_ended() && tries > 0 => {}
            attached => return Ok(attached?),
        }
    }
}

/// The signals that came.
struct Signals {
    /// The number of the one that asks this process to end; 0 before.
    end: Arc<AtomicUsize>,
    /// This process was asked to stop, by another process: Ctrl-Z comes as a key.
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let signals = Self {
            end: Arc::default(),
            stop: Arc::default(),
        };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.end), signal as usize)?;
        }
        if !inherited::was_ignored(SIGTSTP) {
            signal_hook::flag::register(SIGTSTP, Arc::clone(&signals.stop))?;
        }
        Ok(signals)
    }
}

/// The picture, and what keys have made of it.
struct Screen {
    observation: Observation,
    input: Follower,
    started: Instant,
    coloured: bool,
    selected: usize,
    /// The picture that stays, while it is frozen.
    frozen: Option<Frame>,
    expanded: bool,
    help: bool,
}

/// A key's request.
enum Asked {
    Nothing,
    Quit,
    Stop,
}

impl Screen {
    /// Until the pipeline has ended, or somebody wants to leave.
    fn run(&mut self, held: &mut Held, signals: &Signals) -> anyhow::Result<()> {
        let mut next_picture = Instant::now();
        loop {
            let mut changed = false;
            if terminal_is_gone(self.observation.due_in()) {
                return Ok(());
            }
            if event::poll(Duration::ZERO).context("cannot read the terminal")? {
                changed = true;
                match event::read().context("cannot read the terminal")? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => match self.key(key) {
                        Asked::Nothing => {}
                        Asked::Quit => return Ok(()),
                        Asked::Stop => held.stop()?,
                    },
                    _ => {}
                }
            }
            self.observation.tick();
            if signals.stop.swap(false, Ordering::Relaxed) {
                held.stop()?;
                changed = true;
            }
            if signals.end.load(Ordering::Relaxed) != 0 || self.has_ended() {
                return Ok(());
            }
            if changed || next_picture <= Instant::now() {
                next_picture = Instant::now() + REPAINT;
                held.terminal
                    .draw(|canvas| self.draw(canvas))
                    .context("cannot draw")?;
            }
        }
    }

    fn has_ended(&self) -> bool {
        let ended = |stages: &Vec<Activity>| stages.iter().all(|it| *it == Activity::Ended);
        self.observation
            .latest()
            .is_some_and(|sample| ended(&sample.stages))
    }

    fn key(&mut self, key: KeyEvent) -> Asked {
        let stages = self.observation.layout().stages.len();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Asked::Quit,
            KeyCode::Char('z') if control => return Asked::Stop,
            KeyCode::Esc if self.help || self.expanded => {
                (self.help, self.expanded) = (false, false);
            }
            KeyCode::Char('q') | KeyCode::Esc => return Asked::Quit,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Char('f') => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some(self.frame()),
                }
            }
            KeyCode::Char('e') | KeyCode::Enter => self.expanded = !self.expanded,
            KeyCode::Char('j') | KeyCode::Down => {
                self.selected = (self.selected + 1).min(stages - 1);
            }
            KeyCode::Char('k') | KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            _ => {}
        }
        Asked::Nothing
    }

    fn frame(&self) -> Frame {
        let elapsed = self.started.elapsed();
        Frame::of(&self.observation, elapsed, self.input.progress())
    }

    fn draw(&self, canvas: &mut ratatui::Frame<'_>) {
        let area = canvas.area();
        let frame = self.frozen.clone().unwrap_or_else(|| self.frame());
        let height = usize::from(area.height.saturating_sub(1));
        // All of it or nothing, and not where it would take the place of what happens now.
        let advice = frame.advice.as_deref().unwrap_or_default();
        let advice = text::wrapped(advice, area.width.into());
        let advice: Vec<&str> = advice.lines().filter(|it| !it.trim().is_empty()).collect();
        let advice = if advice.len() <= height / 4 {
            advice
        } else {
            Vec::new()
        };
        let mut lines: Vec<Line<'_>> = Vec::new();
        let frozen = if self.frozen.is_some() {
            "frozen · "
        } else {
            ""
        };
        let title = format!("pipewright watch · {frozen}q quit · ? help");
        lines.push(self.line(&Row::fitted(vec![(Tone::Faint, title)], area.width.into())));
        let marked = frame.selected(self.selected);
        for row in marked.rows(area.width.into(), height - advice.len()) {
            lines.push(self.line(&row));
        }
        for line in advice {
            lines.push(self.line(&Row(vec![(Tone::Warning, line.to_owned())])));
        }
        canvas.render_widget(Paragraph::new(lines), area);
        if self.help {
            overlay(canvas, "keys", HELP);
        } else if self.expanded
            && let Some(stage) = self.observation.layout().stages.get(self.selected)
        {
            overlay(
                canvas,
                &format!("stage {}", self.selected + 1),
                &text::line(&stage.command),
            );
        }
    }

    fn line(&self, row: &Row) -> Line<'static> {
        let pieces = row.0.iter();
        let span = |(tone, piece): &(Tone, String)| {
            Span::styled(charset::in_locale(piece).into_owned(), self.style(*tone))
        };
        Line::from(pieces.map(span).collect::<Vec<_>>())
    }

    fn style(&self, tone: Tone) -> Style {
        let colour = |colour| {
            if self.coloured {
                Style::new().fg(colour)
            } else {
                Style::new()
            }
        };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Bold => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => colour(Color::Green),
            Tone::Warning => colour(Color::Yellow),
            Tone::Selected => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }
}

/// The terminal while it is ours. It is given back on the way out; after a kill -9 by the guard.
struct Held {
    terminal: DefaultTerminal,
    guard: Option<Guard>,
}

impl Held {
    /// Leaves the alternate screen, and shows the cursor.
    const LEAVE: &str = "\x1b[?1049l\x1b[?25h";

    fn take() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot take the terminal")?;
        let mut guard = Guard::start();
        if let Some(guard) = &mut guard {
            guard.set(Self::LEAVE);
        }
        Ok(Self { terminal, guard })
    }

    fn give_back(&mut self) {
        ratatui::restore();
        if let Some(guard) = &mut self.guard {
            guard.set("");
        }
    }

    /// Stops this process, with the terminal as it was before. Returns when it goes on.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.give_back();
        disposition::stop();
        self.terminal = ratatui::try_init().context("cannot take the terminal")?;
        if let Some(guard) = &mut self.guard {
            guard.set(Self::LEAVE);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Waits at most this long for something on the terminal. True when nobody is at its other end any
/// more: to read its end of file again and again would keep a core busy for ever.
fn terminal_is_gone(timeout: Duration) -> bool {
    let stdin = std::io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    // Interrupted: perhaps by a change of the terminal's size, which the caller asks for next.
    let _ = poll_until_signal(&mut polled, Deadline::after(timeout));
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    polled[0].revents().intersects(gone)
}

/// Where the locale has no lines to draw.
const ASCII_BORDER: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// A box in the middle of the screen.
fn overlay(canvas: &mut ratatui::Frame<'_>, title: &str, text: &str) {
    let area = canvas.area();
    let width = area.width.saturating_sub(4).min(76);
    let lines = text
        .lines()
        .map(|line| text::width(line) / usize::from(width.max(3) - 2) + 1);
    let height = (lines.sum::<usize>() + 2).min(area.height.into()) as u16;
    let place = ratatui::layout::Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let border = if charset::is_ascii_only() {
        ASCII_BORDER
    } else {
        border::PLAIN
    };
    let paragraph = Paragraph::new(Text::from(charset::in_locale(text).into_owned()))
        .wrap(Wrap { trim: false })
        .block(Block::bordered().border_set(border).title(title.to_owned()));
    canvas.render_widget(Clear, place);
    canvas.render_widget(paragraph, place);
}
