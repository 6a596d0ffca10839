//! What terminals do, by what is said and done.

use super::*;
use proptest::prelude::*;

use crate::{Button, Pointed, Rgb, Shape};

fn terminal(said: &[u8]) -> Terminal {
    let mut terminal = Terminal::new(Size::new(20, 5));
    terminal.hear(said);
    terminal
}

fn text(terminal: &Terminal) -> Vec<String> {
    terminal.rows(true).iter().map(Row::text).collect()
}

const fn at(row: usize, column: usize, right: bool) -> At {
    At { row, column, right }
}

#[test]
fn what_is_said_is_seen() {
    let terminal = terminal(b"one\r\n\x1b[31mred\x1b[0m \x1b[1;38;2;1;2;3mown\x1b[0m\r\n\x1b[7minverse");
    assert_eq!(text(&terminal)[..3], ["one", "red own", "inverse"]);
    let rows = terminal.rows(true);
    let palette = Palette::default();
    assert_eq!(rows[1].runs[0].look.ink, palette.named[1]);
    let own = rows[1].runs.iter().find(|run| run.text == "own").unwrap();
    assert_eq!((own.look.ink, own.look.bold, own.column, own.cells), (Rgb::new(0x01_0203), true, 4, 3));
    assert_eq!((rows[2].runs[0].look.ink, rows[2].runs[0].look.ground), (palette.ground, palette.ink));
}

#[test]
fn only_rows_that_changed_differ() {
    let mut terminal = terminal(b"one\r\ntwo\r\nthree");
    let before = terminal.rows(true);
    terminal.hear(b"!");
    let after = terminal.rows(true);
    let changed: Vec<usize> = (0..5).filter(|row| before[*row] != after[*row]).collect();
    assert_eq!(changed, [2]);
    terminal.set_palette(Palette { ground: Rgb::new(0xff_ffff), ..Palette::default() });
    assert!(terminal.rows(true).iter().zip(&after).all(|(now, then)| now != then));
}

#[test]
fn the_cursor_says_who_has_the_keyboard() {
    let mut terminal = terminal(b"ab");
    let cursor = |terminal: &Terminal, has_keys| terminal.rows(has_keys)[0].cursor.map(|cursor| (cursor.column, cursor.shape));
    assert_eq!((cursor(&terminal, true), cursor(&terminal, false)), (Some((2, Shape::Block)), Some((2, Shape::Outline))));
    terminal.hear(b"\x1b[5 q");
    assert_eq!(cursor(&terminal, true), Some((2, Shape::Beam)));
    terminal.hear(b"\x1b[?25l");
    assert_eq!(cursor(&terminal, true), None);
}

#[test]
fn letters_of_two_cells_are_runs_of_their_own() {
    let terminal = terminal("a中文b".as_bytes());
    let runs = &terminal.rows(false)[0].runs;
    let wide = &runs[1];
    assert_eq!((wide.text.as_str(), wide.column, wide.cells, wide.wide), ("中文", 1, 4, true));
    assert_eq!(runs[2].column, 5);
    let cells: usize = runs.iter().map(|run| run.cells).sum();
    assert_eq!(cells, 20);
}

#[test]
fn questions_are_answered_to_the_guest() {
    let mut terminal = terminal(b"\x1b[c\x1b[6n\x1b[5n");
    assert_eq!(terminal.take_answers(), b"\x1b[?6c\x1b[1;1R\x1b[0n");
    assert_eq!(terminal.take_answers(), b"");
    terminal.hear(b"\x1b[18t\x1b[999;999H\x1b[6n");
    assert_eq!(terminal.take_answers(), b"\x1b[8;5;20t\x1b[5;20R");
    terminal.hear(b"\x1b]11;?\x07");
    assert_eq!(terminal.take_answers(), b"\x1b]11;rgb:0000/0000/0000\x07");
    terminal.hear(&b"\x1b[c".repeat(10_000));
    assert!(terminal.take_answers().len() <= MOST_ANSWERS);
}

#[test]
fn the_clipboard_is_not_the_guests() {
    let mut terminal = terminal(b"\x1b]52;c;aGVsbG8=\x07\x1b]52;c;?\x07");
    assert_eq!(terminal.take_answers(), b"");
    assert!(terminal.heard.0.lock().unwrap().is_empty());
    // Even where it got past the first look.
    let mut guard = Guard { term: &mut terminal.term };
    guard.clipboard_store(b'c', b"aGVsbG8=");
    guard.clipboard_load(b'c', "\x07");
    assert!(terminal.heard.0.lock().unwrap().is_empty());
}

#[test]
fn titles_are_short_and_say_something() {
    let mut terminal = terminal(b"\x1b]0;root@guest: ~\x07");
    assert_eq!(terminal.title(), Some("root@guest: ~"));
    terminal.hear(format!("\x1b]2;{}\x1b\\", "x".repeat(900)).as_bytes());
    assert_eq!(terminal.title().map(str::len), Some(256));
    terminal.hear(b"\x1b]0; \x07");
    assert_eq!(terminal.title(), None);
}

#[test]
fn marks_above_a_letter_are_few() {
    let mut terminal = terminal(b"a");
    for _ in 0..1000 {
        terminal.hear("\u{301}".as_bytes());
        terminal.hear("\x1b[1;2H\u{301}\u{302}".as_bytes());
    }
    assert_eq!(text(&terminal)[0].chars().count(), 5);
}

#[test]
fn what_scrolled_away_is_there_up_to_a_length() {
    let mut terminal = Terminal::new(Size::new(20, 5));
    for number in 0..HISTORY + 100 {
        terminal.hear(format!("{number}\r\n").as_bytes());
    }
    assert_eq!(terminal.extent(), Extent { above: HISTORY, seen: 5, below: 0 });
    terminal.scroll(3);
    assert_eq!(terminal.extent().below, 3);
    terminal.scroll_to(0);
    assert_eq!(terminal.extent().above, 0);
    assert_eq!(text(&terminal)[0], "96");
    // What comes meanwhile does not move what is read.
    terminal.scroll_to(200);
    let read = text(&terminal);
    terminal.hear(b"more\r\n");
    assert_eq!(text(&terminal), read);
    terminal.scroll_to_end();
    assert_eq!(text(&terminal)[3], "more");
}

#[test]
fn the_wheel_scrolls_or_is_the_guests() {
    let mut terminal = terminal(&b"line\r\n".repeat(30));
    let over = at(1, 2, false);
    assert_eq!(terminal.turn(1.5, over, Held::default()), Turned::Scrolled);
    assert_eq!(terminal.turn(1.5, over, Held::default()), Turned::Scrolled);
    assert_eq!(terminal.extent().below, 3);
    terminal.hear(b"\x1b[?1049h");
    assert_eq!(terminal.turn(-2.0, over, Held::default()), Turned::Send(b"\x1b[B\x1b[B".to_vec()));
    terminal.hear(b"\x1b[?1000h\x1b[?1006h");
    assert_eq!(terminal.turn(1.0, over, Held::default()), Turned::Send(b"\x1b[<64;3;2M".to_vec()));
    assert_eq!(terminal.point(Pointed::Down(Button::Left), over, Held::default()), Some(b"\x1b[<0;3;2M".to_vec()));
    let shift = Held { shift: true, ..Held::default() };
    assert_eq!(terminal.point(Pointed::Down(Button::Left), over, shift), None);
    assert_eq!(terminal.turn(f64::NAN, over, Held::default()), Turned::Scrolled);
}

#[test]
fn text_is_selected_by_letter_word_line_and_rectangle() {
    let mut terminal = terminal(b"one two\r\nthree four");
    let mut selected = |grain, from: At, to: At| {
        terminal.select(grain, from);
        terminal.select_to(to);
        terminal.selected().unwrap_or_default()
    };
    assert_eq!(selected(Grain::Letter, at(0, 4, false), at(1, 4, true)), "two\nthree");
    assert_eq!(selected(Grain::Word, at(1, 7, false), at(1, 7, true)), "four");
    assert_eq!(selected(Grain::Line, at(0, 2, false), at(0, 2, true)), "one two\n");
    assert_eq!(selected(Grain::Block, at(0, 0, false), at(1, 2, true)), "one\nthr");
    assert_eq!(selected(Grain::Letter, at(0, 4, false), at(0, 4, false)), "");
    terminal.select_all();
    assert_eq!(terminal.selected().unwrap().trim_end(), "one two\nthree four");
    let looks = terminal.rows(true)[0].runs[0].look;
    assert_eq!(looks.ground, Palette::default().selection);
    terminal.select_none();
    assert!(!terminal.has_selection());
}

#[test]
fn another_size_wraps_lines_anew() {
    let mut terminal = terminal(b"0123456789abcdefghij");
    terminal.resize(Size::new(10, 5));
    terminal.scroll(1);
    assert_eq!(text(&terminal)[..2], ["0123456789", "abcdefghij"]);
    terminal.resize(Size::new(0, 0));
    terminal.resize(Size::new(usize::MAX, usize::MAX));
    assert_eq!(terminal.size(), Size { columns: COLUMNS.1, rows: ROWS.1 });
    terminal.scroll_to(0);
    assert_eq!(text(&terminal)[0], "0123456789abcdefghij");
}

#[test]
fn half_a_letter_is_one_cell() {
    // Where nothing is wrapped anew, a narrower window cuts a letter of two cells, and a wider one has something else beside it.
    let mut terminal = Terminal::new(Size::new(6, 3));
    terminal.hear("\x1b[?1049habcd\u{1f600}".as_bytes());
    terminal.resize(Size::new(5, 3));
    terminal.resize(Size::new(6, 3));
    let cells: usize = terminal.rows(true)[0].runs.iter().map(|run| run.cells).sum();
    assert_eq!(cells, 6);
}

#[test]
fn clearing_leaves_the_line_that_is_typed() {
    let mut terminal = terminal(&[b"line\r\n".repeat(30).as_slice(), b"guest# ls"].concat());
    terminal.clear();
    assert_eq!(text(&terminal), ["guest# ls", "", "", "", ""]);
    assert_eq!(terminal.extent(), Extent { above: 0, seen: 5, below: 0 });
    terminal.hear(b" -l");
    assert_eq!(text(&terminal)[0], "guest# ls -l");
    terminal.renew();
    assert_eq!(text(&terminal)[0], "");
}

/// What terminals are told, in pieces that mean something.
fn sayings() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0_u32..30, Just(65535_u32), any::<u32>()];
    let sequence = (proptest::collection::vec(number, 0..4), "[ -/?>=]{0,2}", "[@-~]").prop_map(|(numbers, between, end)| {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        format!("\x1b[{between}{}{end}", numbers.join(";")).into_bytes()
    });
    let escape = "[ -~]{1,2}".prop_map(|end| format!("\x1b{end}").into_bytes());
    let command = (0_u32..120, "[ -~]{0,60}").prop_map(|(number, rest)| format!("\x1b]{number};{rest}\x07").into_bytes());
    let letters = "\\PC{0,12}".prop_map(String::into_bytes);
    let raw = proptest::collection::vec(any::<u8>(), 0..12);
    let lines = Just(b"\r\n".to_vec());
    let modes = prop_oneof![Just("1049"), Just("6"), Just("7"), Just("1000"), Just("2004"), Just("2026"), Just("3")]
        .prop_flat_map(|mode| prop_oneof![Just(format!("\x1b[?{mode}h")), Just(format!("\x1b[?{mode}l"))])
        .prop_map(String::into_bytes);
    prop_oneof![sequence, escape, command, letters, raw, lines, modes]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_said_and_done_there_are_rows(
        steps in proptest::collection::vec((sayings(), 0_u8..12, 0_usize..30, 0_usize..30), 0..60)
    ) {
        let mut terminal = Terminal::new(Size::new(20, 5));
        for (said, deed, a, b) in steps {
            terminal.hear(&said);
            let place = at(a, b, a % 2 == 0);
            match deed {
                0 => terminal.resize(Size::new(a, b)),
                1 => terminal.select([Grain::Letter, Grain::Word, Grain::Line, Grain::Block][a % 4], place),
                2 => terminal.select_to(place),
                3 => terminal.scroll(i32::try_from(a).unwrap() - 15),
                4 => drop(terminal.selected()),
                5 => terminal.clear(),
                6 => drop(terminal.turn(f64::from(u32::try_from(a).unwrap()) - 15.0, place, Held::default())),
                7 => terminal.select_all(),
                _ => {}
            }
            let Size { columns, rows } = terminal.size();
            let seen = terminal.rows(true);
            prop_assert_eq!(seen.len(), rows);
            for row in seen {
                prop_assert_eq!(row.runs.iter().map(|run| run.cells).sum::<usize>(), columns);
            }
            prop_assert!(terminal.extent().above <= HISTORY);
            prop_assert!(terminal.take_answers().len() <= MOST_ANSWERS);
            prop_assert!(terminal.title().is_none_or(|title| title.chars().count() <= 256));
        }
    }
}
