//! Structures in the format of the Perl cache client: YAML in the dialect of YAML::Syck, in which null is `~` and every
//! other scalar is a text. No I/O.

mod deserialize;
mod hidden;
mod read;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Serializes a structure to YAML. The error is a message.
pub fn to_yaml<T: Serialize + ?Sized>(structure: &T) -> Result<String, String> {
    let tree = serde_json::to_value(structure).map_err(|error| error.to_string())?;
    write::yaml(&tree)
}

/// Deserializes a structure from YAML. The error is a message.
pub fn from_yaml<T: DeserializeOwned>(yaml: &[u8]) -> Result<T, String> {
    deserialize::tree(read::tree(yaml)?)
}

/// Deserializes a value that is not a structure, as one text. The error is a message.
pub fn from_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    deserialize::tree(Value::String(hidden::characters(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Copy)]
    enum Colour {
        Red,
        Mixed(u8, u8, u8),
        Named { index: u32 },
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct All {
        text: String,
        empty: String,
        null: Option<String>,
        some: Option<i64>,
        truth: (bool, bool),
        number: f64,
        byte: u8,
        big: u64,
        letter: char,
        unit: (),
        list: Vec<Vec<i32>>,
        colours: Vec<Colour>,
        map: BTreeMap<i32, BTreeMap<String, Option<bool>>>,
        nothing: BTreeMap<String, String>,
    }

    fn all() -> All {
        All {
            text: "line\r\nline: - # \"quoted\" \\u00e9 é \u{0} \u{7f} €\t ".to_owned(),
            empty: String::new(),
            null: None,
            some: Some(-5),
            truth: (true, false),
            number: 1.5e-7,
            byte: 255,
            big: u64::MAX,
            letter: '~',
            unit: (),
            list: vec![vec![], vec![1, 2], vec![3]],
            colours: vec![
                Colour::Red,
                Colour::Mixed(1, 2, 3),
                Colour::Named { index: 7 },
            ],
            map: BTreeMap::from([(
                7,
                BTreeMap::from([("a b".to_owned(), None), (String::new(), Some(true))]),
            )]),
            nothing: BTreeMap::new(),
        }
    }

    #[test]
    fn structures_go_there_and_back() {
        let yaml = to_yaml(&all()).expect("it can be written");
        assert_eq!(
            from_yaml::<All>(yaml.as_bytes()).as_ref(),
            Ok(&all()),
            "{yaml}"
        );
    }

    #[test]
    fn yaml_is_of_the_kind_that_syck_reads() {
        let yaml = to_yaml(&serde_json::json!({
            "a": [1, [true, null], {"b": "x\ny", "c": {}}, []],
            "k: \"": "\u{1b}\u{1}é\u{85}",
        }));
        let expected = "--- \n\"a\": \n  - 1\n  - \n    - 1\n    - ~\n  - \n    \"b\": \"x\\ny\"\n    \"c\": {}\n  - []\n\"k: \\\"\": \"\\e\\x01é\u{85}\"\n";
        assert_eq!(yaml.as_deref(), Ok(expected));
        assert_eq!(to_yaml("x").as_deref(), Ok("--- \"x\"\n"));
        assert_eq!(to_yaml("=").as_deref(), Ok("--- =\n"));
        assert_eq!(to_yaml(&()).as_deref(), Ok("--- ~\n"));
    }

    #[test]
    fn a_scalar_becomes_what_is_wanted_however_perl_quotes_it() {
        for yaml in ["--- 5\n", "--- '5'\n", "--- \"5\"\n"] {
            assert_eq!(from_yaml(yaml.as_bytes()), Ok("5".to_owned()));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok(5_u8));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok(-5_i64 * -1));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok(5.0_f64));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok('5'));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok(Some(5_u8)));
            assert_eq!(from_yaml(yaml.as_bytes()), Ok(serde_json::json!("5")));
        }
        for (yaml, truth) in [("1", true), ("true", true), ("0", false), ("''", false)] {
            assert_eq!(from_yaml(format!("--- {yaml}\n").as_bytes()), Ok(truth));
        }
        for text in [
            "null",
            "true",
            "'~'",
            "no",
            "0x10",
            "2020-01-01",
            "=",
            "1:30",
        ] {
            let read = from_yaml::<Option<String>>(format!("--- {text}\n").as_bytes());
            assert_eq!(read, Ok(Some(text.trim_matches('\'').to_owned())));
        }
        for null in ["---\na: ~\n", "---\na:\n"] {
            let read = from_yaml::<BTreeMap<String, Option<String>>>(null.as_bytes());
            assert_eq!(read, Ok(BTreeMap::from([("a".to_owned(), None)])));
        }
        assert!(from_yaml::<u8>(b"--- 256\n").is_err());
        assert!(from_yaml::<u8>(b"--- ~\n").is_err());
        assert!(from_yaml::<String>(b"--- ~\n").is_err());
        assert!(from_yaml::<bool>(b"--- maybe\n").is_err());
    }

    #[test]
    fn what_perl_writes_is_read() {
        // As YAML::Syck writes it: blank lines, blanks behind colons, a CR as it is, an anchor.
        let yaml = b"--- \n\"\": empty\nb c: \n  - 1\n  - \n    - 2\n\n  - \n    \"y\": {}\n\n    x: ~\n\nc: &1 \n  - 1:30\ncr: a\rb\nd: *1\ne: \"\\x7F\\x01 \\e\"\nf: quote\"s it's a, b\n";
        let expected = serde_json::json!({
            "": "empty", "b c": ["1", ["2"], {"y": {}, "x": null}], "c": ["1:30"], "d": ["1:30"],
            "cr": "a\rb", "e": "\u{7f}\u{1} \u{1b}", "f": "quote\"s it's a, b",
        });
        assert_eq!(from_yaml(yaml), Ok(expected));
        // In double quotes it writes UTF-8 byte by byte; elsewhere a backslash is one.
        for (yaml, text) in [
            (r#""\xC3\xA9\n""#, "é\n"),
            (r#""\\xC3\xE2\x82\xAC\\\xC3\xA9""#, r"\xC3€\é"),
            (r#""\xE9 \xFF\n""#, "é ÿ\n"),
            (r#""é \xE9""#, "é é"),
            (r#""\x41\xc9""#, "AÉ"),
            (r"a\xC3\xA9\\xC3", r"a\xC3\xA9\\xC3"),
            (r"'\xC3'", r"\xC3"),
        ] {
            let read = from_yaml(format!("--- {yaml}\n").as_bytes());
            assert_eq!(read, Ok(text.to_owned()), "{yaml}");
        }
        let yaml = b"--- \na: \n  - '5\n\n'\n  - \n    ,b: ,\tx\t#y\r\nc: {}\n\n'6': ~\n";
        let expected = serde_json::json!({
            "a": ["5\n", {",b": ",\tx\t#y\r"}], "c": {}, "6": null,
        });
        assert_eq!(from_yaml(yaml), Ok(expected));
        let expected = serde_json::json!({"a": ["1", "2"]});
        assert_eq!(from_yaml(b"---\r\na: [1,2]\r\n"), Ok(expected));
        // Perl's own text is Latin-1.
        assert_eq!(from_yaml(b"--- \xe9t\xe9\n"), Ok("été".to_owned()));
        assert_eq!(from_text(b"5"), Ok(5));
    }

    #[test]
    fn characters_of_any_plane_are_kept() {
        // Icon fonts use those for private use.
        let text = "\u{e000}\u{f0000}\u{f00c3}\u{f00ff}\u{100041}\u{1000c3}\u{1001e9}\u{10fffd} \u{feff}x\u{2028}\u{85}\n";
        let yaml = to_yaml(&[text, text]).expect("it can be written");
        let read = from_yaml::<Vec<String>>(yaml.as_bytes());
        assert_eq!(read, Ok(vec![text.to_owned(); 2]));
        let perl_wrote = "--- \n- a\u{feff}b\n- \u{feff}x\n- \"\u{f0041}\\n\"\n";
        let expected = ["a\u{feff}b", "\u{feff}x", "\u{f0041}\n"];
        assert_eq!(
            from_yaml(perl_wrote.as_bytes()),
            Ok(expected.map(str::to_owned))
        );
    }

    #[test]
    fn each_scalar_has_an_encoding_of_its_own() {
        let yaml = b"--- \n\xe9: \xc3\xa9\nb: \xe9\nc: \"\\xE2\\x82\\xAC\\n\"\nd: \"\\xE9\\n\"\n";
        let expected = serde_json::json!({
            "\u{e9}": "\u{e9}", "b": "\u{e9}", "c": "\u{20ac}\n", "d": "\u{e9}\n",
        });
        assert_eq!(from_yaml(yaml), Ok(expected));
    }

    #[test]
    fn a_backslash_before_any_other_letter_is_one() {
        // As Syck reads it, which knows no `\u`.
        for (yaml, text) in [
            (r#""\u00e9\q\/\n""#, "\\u00e9\\q\\/\n"),
            (r#""\U00100041""#, "\\U00100041"),
            (r#""\a\b\f\v\e\0\t""#, "\u{7}\u{8}\u{c}\u{b}\u{1b}\0\t"),
        ] {
            let read = from_yaml(format!("--- {yaml}\n").as_bytes());
            assert_eq!(read, Ok(text.to_owned()), "{yaml}");
        }
    }

    #[test]
    fn texts_that_look_like_numbers_and_dates_stay_texts() {
        let texts = [
            "1:30",
            "1_000",
            "0x1f",
            "+5",
            ".5",
            ".inf",
            "2026-01-02",
            "=",
            "yes",
            "010",
        ];
        let lines = texts.map(|text| format!("- {text}\n")).concat();
        let read = from_yaml(format!("--- \n{lines}").as_bytes());
        assert_eq!(read, Ok(texts.map(str::to_owned).to_vec()));
    }

    #[test]
    fn keys_have_any_length() {
        for length in [1000, 1023, 1024, 1025, 5000, 100_000] {
            for character in ["k", "\"", ": ", "\u{e9}", "\\", "'", "a b"] {
                let key = character.repeat(length / character.len());
                let map = serde_json::json!({
                    key.clone(): ["1", {key.clone(): {key.clone(): "x\ny"}, "b": "2"}], "a": key,
                });
                let yaml = to_yaml(&map).expect("it can be written");
                assert_eq!(from_yaml(yaml.as_bytes()), Ok(map), "{character} {length}");
            }
        }
        // As Perl writes some, and others write lists of maps.
        let key = "it''s ".repeat(300);
        let yaml = format!("--- \n- '{key}': \n    - 1\n  b: 2\n- plain {key}x: 3\n");
        let [quoted, plain] = [key.replace("''", "'"), format!("plain {key}x")];
        let expected = serde_json::json!([{quoted: ["1"], "b": "2"}, {plain: "3"}]);
        assert_eq!(from_yaml(yaml.as_bytes()), Ok(expected));
    }

    #[test]
    fn lines_in_single_quotes_need_no_indentation() {
        let yaml = b"--- \n- a: '5\n\n\n---\n\n...\n\nit''s\nb \\n '\n  c: &1 '1\n\n'\n- !!x '1\n\nx: y'\n";
        let expected = serde_json::json!([
            {"a": "5\n\n---\n...\nit's b \\n ", "c": "1\n"}, "1\nx: y",
        ]);
        assert_eq!(from_yaml(yaml), Ok(expected));
    }

    #[test]
    fn lines_within_a_scalar_are_no_keys() {
        let long = "no key: ".repeat(200);
        let yaml = format!(
            "a: |\n  {long}x\n\n  {long}x\nb: \"{long}\n  {long}x\"\nc: '\n  {long}x'\nd: 1\n"
        );
        let expected = serde_json::json!({
            "a": format!("{long}x\n\n{long}x\n"), "b": format!("{long}{long}x"),
            "c": format!(" {long}x"), "d": "1",
        });
        assert_eq!(from_yaml(yaml.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_reference_is_what_it_refers_to() {
        let yaml = b"--- \na: !!perl/ref \n  =: x\nb: !!perl/ref \n  =: \n    - 1\nc: !!perl/ref \n  =: !!perl/ref \n    =: 'y'\nd: !!perl/ref \n  =: ~\ne: \n  =: z\n";
        let expected = serde_json::json!({
            "a": "x", "b": ["1"], "c": "y", "d": null, "e": {"=": "z"},
        });
        assert_eq!(from_yaml(yaml), Ok(expected));
        assert_eq!(from_yaml(b"--- !!perl/ref \n=: 5\n"), Ok(5));
    }

    #[test]
    fn what_would_take_too_much_is_refused() {
        let deep = "[".repeat(1000);
        assert!(from_yaml::<Value>(deep.as_bytes()).is_err());
        let nested = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        assert!(to_yaml(&nested).is_err());
        let mut bomb = "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        let refused = from_yaml::<Value>(bomb.as_bytes()).expect_err("it is too large");
        assert!(refused.contains("large"), "{refused}");
        for broken in [
            "--- [",
            "",
            "--- \"a\n",
            "--- *a\n",
            "---\n[a]: b\n",
            "--- 1\n--- 2\n",
        ] {
            assert!(from_yaml::<Value>(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
