//! The view on a screen of any size.

use super::view::{List, Order, View};
use crate::client::Fields;
use crate::tool::columns::{self, BUSY_NAMES, Column, LARGE_NAMES, LINKS, NARROW_CLIENTS, SLOW};
use crate::tool::printer::printable;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::time::Instant;

/// The widest cell, but for the last one of a row.
const WIDEST_CELL: usize = 32;

/// Draws all of it. The rows that have no room are left out at the end of each part.
pub fn draw(view: &mut View, now: Instant, frame: &mut Frame<'_>) {
    let headline = headline(view);
    let footer = footer(view);
    let heights = [
        Constraint::Length(1),
        Constraint::Length(lines(headline.len())),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(lines(footer.len())),
    ];
    let [title, figures, tabs, list, keys] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(title_line(view, now), title);
    frame.render_widget(Paragraph::new(headline), figures);
    frame.render_widget(tab_line(view), tabs);
    view.fit(usize::from(list.height.saturating_sub(1)));
    draw_list(view, list, frame);
    frame.render_widget(Paragraph::new(footer), keys);
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn title_line(view: &View, now: Instant) -> Line<'static> {
    let figures = view.figures();
    let address = printable(view.address.as_bytes()).replace('\t', " ");
    let version = printable(figures.version().as_bytes()).into_owned();
    let uptime = columns::short_time(figures.uptime_s());
    let trouble = view.trouble(now);
    let state = match trouble.is_empty() {
        true => "well".to_owned().green(),
        false => trouble.red().bold(),
    };
    let about = format!("  clacksd {version}  up {uptime}  ");
    // The trouble comes before the address, which may be long.
    Line::from(vec![
        "clacks top".bold(),
        about.into(),
        state,
        format!("  {address}").into(),
    ])
}

fn headline(view: &View) -> Vec<Line<'static>> {
    let line = |items: Vec<(String, String)>| {
        let spans = items.into_iter().flat_map(|(label, text)| {
            [
                Span::from(format!("{label} ")).dim(),
                Span::from(format!("{text}  ")),
            ]
        });
        Line::from_iter(spans)
    };
    view.headline().into_iter().map(line).collect()
}

fn tab_line(view: &View) -> Line<'static> {
    let tabs = List::ALL.iter().enumerate().map(|(index, list)| {
        let tab = format!(" {} {} ", index + 1, list.word());
        match *list == view.list {
            true => tab.reversed(),
            false => tab.into(),
        }
    });
    Line::from_iter(tabs)
}

fn draw_list(view: &View, area: Rect, frame: &mut Frame<'_>) {
    let columns = match view.list {
        List::Clients => NARROW_CLIENTS,
        List::Links => LINKS,
        List::Slow => SLOW,
        List::Names => {
            let halves = [
                Constraint::Fill(1),
                Constraint::Length(2),
                Constraint::Fill(1),
            ];
            let [busy, _, large] = Layout::horizontal(halves).areas(area);
            frame.render_widget(table(BUSY_NAMES, view.visible(view.rows())), busy);
            frame.render_widget(table(LARGE_NAMES, view.visible(view.largest.rows())), large);
            return;
        }
    };
    frame.render_widget(table(columns, view.visible(view.rows())), area);
}

fn table(columns: &[Column], rows: &[Fields]) -> Paragraph<'static> {
    let lines = columns::table(columns, rows, WIDEST_CELL).into_iter();
    let lines = lines.enumerate().map(|(index, line)| match index {
        0 => Line::from(line).style(Style::new().bold()),
        _ => Line::from(line),
    });
    Paragraph::new(lines.collect::<Vec<_>>())
}

fn footer(view: &View) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if view.list == List::Clients {
        let mut spans = vec![Span::from("sort by")];
        for (key, word, order) in Order::ALL {
            spans.push(Span::from(format!("  {key} ")).bold());
            spans.push(match order == view.order {
                true => Span::from(word).reversed(),
                false => Span::from(word),
            });
        }
        spans.extend([Span::from("  r ").bold(), Span::from("reverse")]);
        lines.push(Line::from(spans));
    }
    let keys = [
        ("q", "quit"),
        ("Tab 1-4", "list"),
        ("↑ ↓ PgUp PgDn Home End", "scroll"),
    ];
    let spans = keys.into_iter().flat_map(|(keys, word)| {
        [
            Span::from(format!("{keys} ")).bold(),
            Span::from(format!("{word}  ")),
        ]
    });
    lines.push(Line::from_iter(spans));
    lines
}
