//! What a guest says on its serial port, in any pieces, while a person resizes, scrolls, selects and types. Nothing panics, there are always
//! as many rows and cells as the terminal has, and what is kept is bounded.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use terminal::{At, Button, Grain, HISTORY, Held, Key, Pointed, Size, Terminal};

#[derive(Debug, Arbitrary)]
enum Step {
    Said(Vec<u8>),
    /// A sequence of a terminal's, which random bytes seldom are.
    Sequence(bool, Vec<u16>, u8),
    Repeat(u8, Vec<u8>),
    Resize(u8, u8),
    Scroll(i16),
    ScrollTo(u16),
    Select(u8, u8, u8, bool),
    SelectTo(u8, u8, bool),
    SelectAll,
    Turn(f64, u8, u8),
    Click(u8, u8),
    Paste(String),
    Clear,
    Renew,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut terminal = Terminal::new(Size::new(20, 5));
    let at = |row: u8, column: u8, right| At { row: row.into(), column: column.into(), right };
    for step in steps {
        match step {
            Step::Said(bytes) => terminal.hear(&bytes),
            Step::Sequence(private, numbers, end) => {
                let numbers: Vec<String> = numbers.iter().take(8).map(u16::to_string).collect();
                let mark = if private { "?" } else { "" };
                terminal.hear(format!("\x1b[{mark}{}{}", numbers.join(";"), char::from(b'@' + end % 63)).as_bytes());
            }
            Step::Repeat(times, bytes) => terminal.hear(&bytes.repeat(times.into())),
            Step::Resize(columns, rows) => terminal.resize(Size::new(columns.into(), rows.into())),
            Step::Scroll(rows) => terminal.scroll(rows.into()),
            Step::ScrollTo(above) => terminal.scroll_to(above.into()),
            Step::Select(grain, row, column, right) => {
                let grains = [Grain::Letter, Grain::Word, Grain::Line, Grain::Block];
                terminal.select(grains[usize::from(grain % 4)], at(row, column, right));
            }
            Step::SelectTo(row, column, right) => terminal.select_to(at(row, column, right)),
            Step::SelectAll => terminal.select_all(),
            Step::Turn(rows, row, column) => drop(terminal.turn(rows, at(row, column, false), Held::default())),
            Step::Click(row, column) => drop(terminal.point(Pointed::Down(Button::Left), at(row, column, false), Held::default())),
            Step::Paste(text) => assert!(terminal.paste(&text).len() <= text.len() + 12),
            Step::Clear => terminal.clear(),
            Step::Renew => terminal.renew(),
        }
        let Size { columns, rows } = terminal.size();
        let seen = terminal.rows(true);
        assert_eq!(seen.len(), rows);
        assert!(seen.iter().all(|row| row.runs.iter().map(|run| run.cells).sum::<usize>() == columns));
        assert!(seen.iter().all(|row| row.text().chars().count() <= columns * 5));
        assert!(terminal.extent().above <= HISTORY && terminal.take_answers().len() <= 4096);
        drop((terminal.selected(), terminal.key(Key::Up, Held::default())));
    }
});
