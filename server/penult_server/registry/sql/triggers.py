"""Triggers of the tables: a thing gets its card with its row and loses it with it, whoever writes the row."""

NEWEST_NAME = (
    "UPDATE card SET name = coalesce((SELECT n.name FROM name n WHERE n.kind = card.kind AND n.id = card.id "
    "ORDER BY n.given DESC, n.name LIMIT 1), '')"
)
"""The name of a card is the newest of the thing's names."""


def triggers(dialect: str, things: dict[str, str]) -> tuple[str, ...]:
    """The triggers of tables, by their keys, that keep cards; and those of the table of names."""
    is_sqlite = dialect == "sqlite"
    names, cards = (names_in_sqlite, cards_in_sqlite) if is_sqlite else (_names_in_postgres, _cards_in_postgres)
    return (*names(), *(one for table, key in things.items() for one in cards(table, key)))


def cards_in_sqlite(table: str, key: str) -> list[str]:
    """The two triggers of a table of things."""
    # NOT EXISTS, because a trigger that was fired by INSERT OR REPLACE would replace, too.
    return [
        f"CREATE TRIGGER {table}_made AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO card (kind, id, created) SELECT '{table}', NEW.{key}, (julianday('now') - 2440587.5) * 86400 "
        f"WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = '{table}' AND id = NEW.{key}); END",
        f"CREATE TRIGGER {table}_gone AFTER DELETE ON {table} BEGIN "
        f"DELETE FROM card WHERE kind = '{table}' AND id = OLD.{key}; "
        f"DELETE FROM name WHERE kind = '{table}' AND id = OLD.{key}; END",
    ]


def names_in_sqlite() -> list[str]:
    """The name of a card is the newest of the thing's names, whoever gives or takes one."""
    found: list[str] = []
    for event, rows in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
        updates = "".join(f"{NEWEST_NAME} WHERE kind = {row}.kind AND id = {row}.id; " for row in rows)
        found.append(f"CREATE TRIGGER name_{event.lower()} AFTER {event} ON name BEGIN {updates}END")
    return found


def _cards_in_postgres(table: str, key: str) -> list[str]:
    made = (
        f"INSERT INTO card (kind, id, created) VALUES ('{table}', NEW.{key}, extract(epoch FROM clock_timestamp())) "
        "ON CONFLICT DO NOTHING; "
    )
    gone = f"DELETE FROM card WHERE kind = '{table}' AND id = OLD.{key}; "
    gone += f"DELETE FROM name WHERE kind = '{table}' AND id = OLD.{key}; "
    return [
        *_in_postgres(f"{table}_made", "INSERT", table, made),
        *_in_postgres(f"{table}_gone", "DELETE", table, gone),
    ]


def _names_in_postgres() -> list[str]:
    updates = {row: f"{NEWEST_NAME} WHERE kind = {row}.kind AND id = {row}.id; " for row in ("OLD", "NEW")}
    return [
        *_in_postgres("name_insert", "INSERT", "name", updates["NEW"]),
        *_in_postgres("name_update", "UPDATE", "name", updates["OLD"] + updates["NEW"]),
        *_in_postgres("name_delete", "DELETE", "name", updates["OLD"]),
    ]


def _in_postgres(name: str, event: str, table: str, body: str) -> tuple[str, str]:
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}RETURN NULL; END $$",
        f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    )
