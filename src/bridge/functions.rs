//! The functions that triggers call, and the SQL that installs them.

use super::order::DELIMITER;

/// The channel that carries the notifications.
pub const CHANNEL: &str = "clacksmessage";

/// A value as it is, beside the name.
const VALUE: Option<&str> = Some("$2");
/// A step. PostgreSQL drops a notification that is word for word like an earlier one of the same transaction; so that
/// each step counts, something random follows. A step ends at a blank, and so one of nothing but blanks would be what
/// follows.
const STEP: Option<&str> = Some(
    "CASE WHEN $2 ~ '^[[:space:]]*$' THEN '1' ELSE $2 END || ' ' || pg_catalog.random()::text",
);

/// Functions, and what they take beside the name. The command is the function's name without `clacks_`, in
/// upper case.
const FUNCTIONS: [(&str, Option<&str>); 7] = [
    ("clacks_notify", None),
    ("clacks_set", VALUE),
    ("clacks_store", VALUE),
    ("clacks_setandstore", VALUE),
    ("clacks_increment", STEP),
    ("clacks_decrement", STEP),
    ("clacks_remove", None),
];

/// Installs the functions of the list `%FUNCTIONS%`: name, types of the parameters, body.
///
/// A function that is there is replaced where it is, so that its owner, its grants and whatever depends on it stay.
/// PostgreSQL lets nobody rename parameters or drop defaults so; the declaration that is there is used again. Functions
/// outside the search path count if the installing role owns them, in person or as a member of another role. A function
/// that is nowhere goes to the schema of the others, or else to the first schema of the search path. The path is only
/// read, and then set to what nobody else can write to.
const INSTALL: &str = r#"BEGIN;
DO $install$
DECLARE
    functions CONSTANT text[] := ARRAY[
%FUNCTIONS%
    ];
    home CONSTANT text := pg_catalog.current_schema();
    visible CONSTANT oid[] := ARRAY(
        SELECT p.oid FROM pg_catalog.pg_proc AS p WHERE pg_catalog.pg_function_is_visible(p.oid)
            AND pg_catalog.left(p.proname::text, 7) OPERATOR(pg_catalog.=) 'clacks_'::text);
    known oid[];
    wanted text[];
    former record;
    others text;
    is_there boolean;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    known := ARRAY(
        SELECT p.oid FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE left(p.proname::text, 7) = 'clacks_' AND left(n.nspname::text, 3) <> 'pg_'
            AND (p.oid = ANY (visible)
                OR pg_has_role(p.proowner, 'USAGE') AND p.prorettype = 'void'::regtype));
    SELECT n.nspname::text INTO others
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE p.oid = ANY (known) AND EXISTS (
            SELECT FROM generate_subscripts(functions, 1) AS i
            WHERE functions[i][1] = p.proname::text
                AND functions[i][2] = oidvectortypes(p.proargtypes))
        GROUP BY n.nspname
        ORDER BY bool_or(p.oid = ANY (visible)) DESC, count(*) DESC, n.nspname LIMIT 1;
    FOREACH wanted SLICE 1 IN ARRAY functions LOOP
        is_there := false;
        FOR former IN
            SELECT n.nspname::text AS schema, p.prokind = 'f' AND p.prorettype = 'void'::regtype AS fits,
                pg_get_function_arguments(p.oid) AS declaration
            FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
            WHERE p.oid = ANY (known) AND p.proname::text = wanted[1]
                AND oidvectortypes(p.proargtypes) = wanted[2]
        LOOP
            IF NOT former.fits THEN
                RAISE EXCEPTION '%.%(%) is there and is no function that returns void: drop or rename it',
                    former.schema, wanted[1], wanted[2];
            END IF;
            is_there := true;
            EXECUTE format(
                'CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS void LANGUAGE plpgsql '
                'SET search_path = pg_catalog, pg_temp AS %L',
                former.schema, wanted[1], former.declaration, wanted[3]);
        END LOOP;
        CONTINUE WHEN is_there;
        IF coalesce(others, home) IS NULL THEN
            RAISE EXCEPTION 'there is no schema for the functions: the search path names none that is there';
        END IF;
        EXECUTE format(
            'CREATE FUNCTION %I.%I(%s) RETURNS void LANGUAGE plpgsql '
            'SET search_path = pg_catalog, pg_temp AS %L',
            coalesce(others, home), wanted[1], wanted[2], wanted[3]);
    END LOOP;
END
$install$;
COMMIT;
"#;

/// The body of a function in PL/pgSQL. The name is refused if the delimiter in it, or made by its end and the delimiter
/// behind it, would let a part of the name pass for a value.
fn body(command: &str, value: Option<&str>) -> String {
    let value = value.map_or(String::new(), |value| {
        format!(" || '{DELIMITER}' || {value}")
    });
    format!(
        "BEGIN \
         IF pg_catalog.strpos($1 || '{DELIMITER}', '{DELIMITER}') <= pg_catalog.length($1) THEN \
         RAISE EXCEPTION 'a name can not hold the delimiter of clacks notifications' \
         USING ERRCODE = 'invalid_parameter_value'; \
         END IF; \
         PERFORM pg_catalog.pg_notify('{CHANNEL}', '{command}{DELIMITER}' || $1{value}); \
         END"
    )
}

/// SQL that installs all of them, over former ones.
pub fn sql() -> String {
    let rows = FUNCTIONS.map(|(function, value)| {
        let command = function.trim_start_matches("clacks_").to_uppercase();
        let types = if value.is_some() {
            "text, text"
        } else {
            "text"
        };
        let body = body(&command, value);
        format!("        ['{function}', '{types}', $body${body}$body$]")
    });
    INSTALL.replace("%FUNCTIONS%", &rows.join(",\n"))
}
