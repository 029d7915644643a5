//! The SQL functions that triggers call, and the SQL that installs them.

/// The channel that carries the notifications.
pub const CHANNEL: &str = "clacksmessage";

/// The expression of a value: the second parameter.
const VALUE: Option<&str> = Some("$2");
/// The expression of a step: the second parameter, followed by 52 blanks and tabs, which represent 52 random bits.
/// PostgreSQL drops a notification that equals an earlier one of the same transaction; the random bits make the steps
/// differ. Every bridge parses a number with blanks after it correctly and without a warning. A step of blanks only is 1.
const STEP: Option<&str> = Some(
    "CASE WHEN $2 ~ '^[[:space:]]*$' THEN '1' ELSE $2 END || pg_catalog.translate(\
     (pg_catalog.random() * 4503599627370496)::pg_catalog.int8::pg_catalog.bit(52)::pg_catalog.text, \
     '01', ' ' || pg_catalog.chr(9))",
);

/// The functions, each with the expression of its second parameter if it has one. The verb is the function's name without
/// `clacks_`, in upper case.
const FUNCTIONS: [(&str, Option<&str>); 7] = [
    ("clacks_notify", None),
    ("clacks_set", VALUE),
    ("clacks_store", VALUE),
    ("clacks_setandstore", VALUE),
    ("clacks_increment", STEP),
    ("clacks_decrement", STEP),
    ("clacks_remove", None),
];

/// Installs the functions of the list `%FUNCTIONS%`: name, types of the parameters, declaration, body.
///
/// An existing function is replaced in its schema, so that its owner, its grants and its dependents stay. A replacement
/// can't rename parameters or drop defaults in PostgreSQL; a declaration with either is reused. Functions outside the
/// search path count if the installing role owns them, directly or as a member of another role. A missing function is
/// created in the schema of the others, or else in the first schema of the search path. The path is read once, and then
/// set to schemas that nobody else can write to. A function that belongs to another role is named in a warning, because
/// that role can change it: anybody who may create functions can have created it in advance.
///
/// The SQL is ASCII. It replaces `%DELIMITER%` by the delimiter in the encoding of the database. In single-byte encodings
/// and in SQL_ASCII, the section signs of the delimiter are the byte 0xA7, as Perl writes them, because not all of these
/// encodings have a section sign ([`super::payload`]).
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
    delimiter text;
    wanted text[];
    former record;
    others text;
    is_there boolean;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF (SELECT pg_encoding_max_length(encoding) = 1 FROM pg_database WHERE datname = current_database()) THEN
        delimiter := chr(167);
    ELSE
        delimiter := convert_from(decode('c2a7', 'hex'), 'UTF8');
    END IF;
    delimiter := repeat(delimiter, 3) || 'CLACKSDELIMETER' || repeat(delimiter, 3);
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
        wanted[4] := replace(wanted[4], '%DELIMITER%', delimiter);
        FOR former IN
            SELECT n.nspname::text AS schema, p.prokind = 'f' AND p.prorettype = 'void'::regtype AS fits,
                CASE WHEN p.proargnames IS NULL AND p.pronargdefaults = 0 THEN wanted[3]
                    ELSE pg_get_function_arguments(p.oid) END AS declaration,
                o.rolname AS owner, o.rolsuper OR o.rolname = current_user AS is_ours
            FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
                JOIN pg_roles AS o ON o.oid = p.proowner
            WHERE p.oid = ANY (known) AND p.proname::text = wanted[1]
                AND oidvectortypes(p.proargtypes) = wanted[2]
        LOOP
            IF NOT former.fits THEN
                RAISE EXCEPTION '%.%(%) is there and is no function that returns void: drop or rename it',
                    former.schema, wanted[1], wanted[2];
            END IF;
            is_there := true;
            IF NOT former.is_ours THEN
                RAISE WARNING '%.%(%) belongs to the role %, which can change what it does',
                    former.schema, wanted[1], wanted[2], former.owner;
            END IF;
            EXECUTE format(
                'CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS void LANGUAGE plpgsql '
                'SET search_path = pg_catalog, pg_temp AS %L',
                former.schema, wanted[1], former.declaration, wanted[4]);
        END LOOP;
        CONTINUE WHEN is_there;
        IF coalesce(others, home) IS NULL THEN
            RAISE EXCEPTION 'there is no schema for the functions: the search path names none that is there';
        END IF;
        EXECUTE format(
            'CREATE FUNCTION %I.%I(%s) RETURNS void LANGUAGE plpgsql '
            'SET search_path = pg_catalog, pg_temp AS %L',
            coalesce(others, home), wanted[1], wanted[3], wanted[4]);
    END LOOP;
END
$install$;
COMMIT;
"#;

/// The body of a function in PL/pgSQL. It refuses a name that contains the delimiter, or whose end forms one together with
/// the delimiter after it, since part of the name would then pass for a value.
fn body(command: &str, value: Option<&str>) -> String {
    let value = value.map_or(String::new(), |value| {
        format!(" || '%DELIMITER%' || {value}")
    });
    format!(
        "BEGIN \
         IF pg_catalog.strpos($1 || '%DELIMITER%', '%DELIMITER%') <= pg_catalog.length($1) THEN \
         RAISE EXCEPTION 'a name can not hold the delimiter of clacks notifications' \
         USING ERRCODE = 'invalid_parameter_value'; \
         END IF; \
         PERFORM pg_catalog.pg_notify('{CHANNEL}', '{command}%DELIMITER%' || $1{value}); \
         END"
    )
}

/// The SQL that installs all functions, and replaces earlier versions of them.
pub fn sql() -> String {
    let rows = FUNCTIONS.map(|(function, value)| {
        let command = function.trim_start_matches("clacks_").to_uppercase();
        let (types, declaration) = match value {
            Some(_) => ("text, text", "clacksname text, clacksvalue text"),
            None => ("text", "clacksname text"),
        };
        let body = body(&command, value);
        format!("        ['{function}', '{types}', '{declaration}', $body${body}$body$]")
    });
    INSTALL.replace("%FUNCTIONS%", &rows.join(",\n"))
}
