"""What the pods of several servers ask Patroni's ConfigMaps, and Patroni.

Nothing here decides who takes the writes: that is Patroni's. It is told who
shall, where a server is taken away for good.
"""
import base64
import hashlib
import hmac
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

ENV = os.environ
POD = ENV["POD_NAME"]
SCOPE = ENV["MEMBERS"]
# What the scripts leave for each other, until the container ends.
RUN = ENV.get("TMPDIR", "/tmp")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read().strip()


def configuration():
    """Patroni's configuration, without what only the pod knows."""
    with open(ENV["PATRONI_CONFIG"], encoding="utf-8") as file:
        return json.load(file)


def ask(path, change=None):
    """One request to the API server, a change as a merge patch."""
    host = ENV["KUBERNETES_SERVICE_HOST"]
    if ":" in host:
        host = "[%s]" % host
    request = urllib.request.Request(
        "https://%s:%s%s" % (host, ENV["KUBERNETES_SERVICE_PORT"], path),
        data=None if change is None else json.dumps(change).encode(),
        method="GET" if change is None else "PATCH",
        headers={"Authorization": "Bearer " + read(ENV["ACCOUNT"], "token"), "Content-Type": "application/merge-patch+json"},
    )
    context = ssl.create_default_context(cafile=os.path.join(ENV["ACCOUNT"], "ca.crt"))
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return json.load(answer)


def config_map(key):
    return "/api/v1/namespaces/%s/configmaps/%s-%s" % (ENV["NAMESPACE"], SCOPE, key)


def pod(name):
    return "/api/v1/namespaces/%s/pods/%s" % (ENV["NAMESPACE"], name)


def annotations(key):
    return ask(config_map(key))["metadata"].get("annotations") or {}


def annotate(key, **values):
    ask(config_map(key), {"metadata": {"annotations": values}})


def patiently(do, seconds=60):
    """The API server may be away for a moment, also at the start of a node."""
    until = time.monotonic() + seconds
    while True:
        try:
            return do()
        except OSError as error:
            if time.monotonic() > until or isinstance(error, urllib.error.HTTPError) and error.code in (403, 404):
                raise
        time.sleep(1)


def trusted():
    """The members that have every acknowledged write, the last primary first."""
    sync = annotations("sync")
    return [name for name in [sync.get("leader")] + (sync.get("sync_standby") or "").split(",") if name]


def leader():
    """Who took the writes last: "" for nobody known."""
    print(patiently(lambda: annotations("sync").get("leader") or ""))


def seed():
    """This server alone has everything."""
    patiently(lambda: annotate("sync", leader=POD, sync_standby=None, quorum=None))


def honour():
    """Who has every acknowledged write may take the writes, also when somebody said
    so by hand: Patroni elects nobody whom the last primary did not know."""
    failsafe = annotations("leader").get("failsafe")
    if failsafe and annotations("sync").get("leader") == POD and POD not in json.loads(failsafe):
        annotate("leader", failsafe=None)


def forget_address():
    """A pod that has another address than before tells the old one until Patroni has
    started. Patroni does not start while anybody answers there: it takes that for a
    member of the same name. By now it may be a member of another database."""
    told = (ask(pod(POD))["metadata"].get("annotations") or {}).get("status")
    if told and urllib.parse.urlsplit(json.loads(told).get("api_url", "")).hostname != ENV["POD_IP"]:
        ask(pod(POD), {"metadata": {"annotations": {"status": None}}})


# In memory, because it holds passwords.
COMPLETE = os.path.join(ENV.get("SOCKETS", "/var/run/postgresql"), "patroni.json")


def config():
    """Prepares a start of Patroni, and says where its configuration is."""
    patiently(honour)
    patiently(forget_address)
    # What Patroni reads of its folder before it has written it: after an unclean
    # stop it lets a server for one user recover.
    postgresql = complete()["postgresql"]
    folder = postgresql["config_dir"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "postgresql.conf"), "w", encoding="utf-8") as file:
        file.write("include '%s'\n" % postgresql["custom_conf"])
    print(COMPLETE)


def reload():
    """Patroni has the passwords of the Secret, once the primary has them: a standby
    connects anew with them."""
    if os.path.exists(os.path.join(ENV["PGDATA"], "standby.signal")):
        primary = query("show primary_conninfo")
        if primary:
            query("select 1", "--dbname", primary + " dbname=postgres connect_timeout=3",
                  PGPASSWORD=read(ENV["MEMBERS_SECRET"], "REPLICATION_PASSWORD"))
    complete()
    os.kill(int(ENV.get("PATRONI_PID", "1")), signal.SIGHUP)


def complete():
    """Writes Patroni's configuration, with what only the pod knows."""
    whole = configuration()
    address = ENV["POD_IP"]
    if ":" in address:
        address = "[%s]" % address
    everywhere = "[::]" if ":" in address else "0.0.0.0"
    whole["name"] = POD
    whole["restapi"] = {
        "listen": everywhere + ":8008", "connect_address": address + ":8008",
        "authentication": {"username": "members", "password": read(ENV["MEMBERS_SECRET"], "CALL_PASSWORD")},
    }
    postgresql = whole["postgresql"]
    postgresql["listen"], postgresql["connect_address"] = "*:5432", address + ":5432"
    for login in ("replication", "rewind"):
        postgresql["authentication"][login]["password"] = read(ENV["MEMBERS_SECRET"], "REPLICATION_PASSWORD")
    programs = os.path.join(RUN, "bin")
    postgresql["bin_name"] = {name: os.path.join(programs, name) for name in os.listdir(programs)}
    with open(os.open(COMPLETE + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(whole, file)
    os.replace(COMPLETE + ".new", COMPLETE)
    return whole


def primary():
    """The server that takes the writes: "" for none. One that was killed leaves its name
    for as long as Patroni waits for it, and for the moments of an election."""
    lead = annotations("leader")
    renewed = lead.get("renewTime")
    if renewed and datetime.now(timezone.utc) - datetime.fromisoformat(renewed) < timedelta(seconds=30):
        return lead.get("leader") or ""
    return ""


def missing():
    """Says for whom this server waits, when nobody takes the writes."""
    if primary():
        return
    names = trusted()
    if names:
        print("no server takes the writes: only %s has every acknowledged one (ConfigMap %s-sync)" % (" or ".join(names), SCOPE))


def others(label=""):
    """The pods of the other members, also those that are about to go."""
    pods = ask("/api/v1/namespaces/%s/pods?labelSelector=%s" % (ENV["NAMESPACE"], urllib.parse.quote(ENV["MEMBERS_LABEL"] + label)))
    return {item["metadata"]["name"]: item["metadata"].get("annotations") or {}
            for item in pods["items"] if item["metadata"]["name"] != POD}


def announce(name, value):
    """Says on the pod what is in effect; an update waits for it."""
    ask(pod(POD), {"metadata": {"annotations": {"stateful-postgres/" + name: value}}})


def password():
    """The database has the password of the Secret. Without the key, which is in the
    same Secret, nobody can try passwords out with what is announced."""
    folder = os.path.dirname(ENV["POSTGRES_PASSWORD_FILE"])
    key, value = (open(os.path.join(folder, name), "rb").read() for name in ("DIGEST_KEY", "POSTGRES_PASSWORD"))
    announce("password", hmac.new(key, value, hashlib.sha256).hexdigest())


# The parameters that Patroni hands to all members on the command line of the
# server, which has to be restarted for them. With less of one than the primary has,
# a standby does not start (Hot Standby, in PostgreSQL's documentation); its control
# file has what the primary had.
AGREED = {
    "max_connections": "max_connections", "max_locks_per_transaction": "max_locks_per_xact",
    "max_prepared_transactions": "max_prepared_xacts", "max_wal_senders": "max_wal_senders",
    "max_worker_processes": "max_worker_processes",
    "max_replication_slots": None, "track_commit_timestamp": None, "wal_level": None, "wal_log_hints": None,
}
SWITCH = {"on": "on", "true": "on", "yes": "on", "1": "on", "off": "off", "false": "off", "no": "off", "0": "off"}


def plain(name, value):
    """A value in one form of those that PostgreSQL takes."""
    value = str(value).lower()
    if name in ("track_commit_timestamp", "wal_log_hints"):
        return SWITCH.get(value, value)
    return value if name == "wal_level" else int(value, 0)


def wanted():
    """The parameters as Patroni has them: it writes this file after it has taken over
    what is in it."""
    parameters = json.loads(read(ENV["PGDATA"], "patroni.dynamic.json")).get("postgresql", {}).get("parameters", {})
    return {name: parameters[name] for name in AGREED if name in parameters}


def used():
    """The parameters with which the server was started."""
    words = [word[2:].partition("=") for word in shlex.split(read(ENV["PGDATA"], "postmaster.opts")) if word.startswith("--")]
    return {name: value for name, _, value in words if name in AGREED}


def replayed():
    """The parameters of the primary, as far as this standby has come."""
    lines = subprocess.run(["pg_controldata", ENV["PGDATA"]], env=dict(ENV, LC_ALL="C"), check=True, capture_output=True, text=True).stdout
    control = dict(line.partition(" setting:")[::2] for line in lines.splitlines() if " setting:" in line)
    return {name: int(control[key]) for name, key in AGREED.items() if key in control}


def parameters():
    """Restarts the server for parameters that all members have to have alike, when
    it is its turn: one at a time, and the primary last. Where one becomes less, the
    primary is the first."""
    want = wanted()
    text = ",".join("%s=%s" % item for item in sorted(want.items()))

    def differ():
        have = used()
        return [name for name in want if plain(name, want[name]) != plain(name, have.get(name, want[name]))]

    if differ():
        if not is_turn(want, text):
            sys.exit("members: waits for its turn to restart for %s" % ", ".join(differ()))
        restart()
        if differ():
            sys.exit("members: %s not in effect yet" % ", ".join(differ()))
    announce("parameters", text)


def is_turn(want, text):
    have = used()
    less = [name for name, key in AGREED.items() if key and name in want and plain(name, want[name]) < plain(name, have.get(name, want[name]))]
    primary, rest = annotations("leader").get("leader"), others()
    done = [name for name, about in rest.items() if about.get("stateful-postgres/parameters") == text]
    if primary == POD:
        return bool(less) or len(done) == len(rest)
    if less and (primary not in done or any(replayed()[name] > plain(name, want[name]) for name in less)):
        return False
    return all(name in done or name == primary or number(name) > number(POD) for name in rest)


def number(pod):
    return int(pod.rsplit("-", 1)[1])


def call(what):
    """Tells this pod's own Patroni to do something."""
    login = base64.b64encode(("members:" + read(ENV["MEMBERS_SECRET"], "CALL_PASSWORD")).encode()).decode()
    request = urllib.request.Request(ENV.get("PATRONI_API", "http://127.0.0.1:8008/") + what, data=b"{}", headers={"Authorization": "Basic " + login})
    urllib.request.urlopen(request, timeout=25)


def restart():
    """Patroni restarts its server in place, and keeps the lead meanwhile."""
    call("restart")


def query(statement, *where, **variables):
    """The first line of an answer, of this server if nothing says where."""
    return subprocess.run(["psql", "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--command", statement, *where],
                          env=dict(ENV, **variables), check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def catch_up():
    """Helps a standby that does not follow, although the primary answers."""
    primary, slot = query("show primary_conninfo"), query("show primary_slot_name")
    if not primary or not slot:
        return
    # One that was away for longer than the primary keeps the log for it copies all
    # files anew. Its slot on the primary says so, for good: Patroni makes another one
    # when it is gone.
    lost = "from pg_replication_slots where slot_name = '%s' and wal_status = 'lost' and not active" % slot
    where = ("--dbname", primary + " dbname=postgres connect_timeout=3")
    if query("select 1 " + lost, *where):
        say("the primary has no longer the log that this server needs; it copies all files anew")
        call("reinitialize")
        query("select pg_drop_replication_slot(slot_name) " + lost, *where)
        return
    # Nor does a primary that had no slot for it keep what it needs, as one that ran by
    # itself for a while. PostgreSQL asks for it for ever.
    needed = segment()
    older = "select 1 from pg_ls_dir('pg_wal', true, false) name where name ~ '^[0-9A-F]{24}$' and substr(name, 9) <= '%s' limit 1" % needed
    if needed and not query(older, *where):
        if waited("segment " + needed) > 10:
            say("the primary has no longer segment %s of the log, which this server needs; it copies all files anew" % needed)
            call("reinitialize")
        return
    # Patroni compares a server with a new primary once, by what it has replayed. If it
    # replays more than that primary has, it asks for ever for a log that is not there.
    # And PostgreSQL's receiver has no time limit until the log comes: if the primary
    # goes away in that moment, it waits until the network says so, for hours. Patroni
    # compares again after a restart, and the receiver asks anew.
    receiver = query("select pid from pg_stat_activity where backend_type = 'walreceiver'")
    if receiver and waited(receiver) > 30:
        say("the primary answers, and its log does not come; the server restarts, and is compared with the primary")
        restart()


def segment():
    """The number of the segment that is replayed next, as it ends the names of files."""
    position = query("select pg_last_wal_replay_lsn() || ' ' || setting from pg_settings where name = 'wal_segment_size'")
    if not position:
        return ""
    position, size = position.split()
    high, low = (int(part, 16) for part in position.split("/"))
    return "%08X%08X" % (high, low // int(size))


def waited(what):
    """For how many seconds it has been waited for this, as a receiver or a segment. The
    probe removes the file when the log comes."""
    path = os.path.join(RUN, "waits")
    now = time.time()
    try:
        known, since = read(path).rsplit(None, 1)
    except (OSError, ValueError):
        known = since = ""
    if known != what:
        with open(path, "w", encoding="utf-8") as file:
            file.write("%s %s" % (what, now))
        return 0
    return now - float(since)


def say(text):
    """In the log of the pod: what a probe prints is seen only when it fails."""
    with open(ENV.get("POD_LOG", "/proc/1/fd/1"), "w", encoding="utf-8") as log:
        log.write("members: %s\n" % text)


def changed(_, role, __):
    """Patroni says that the server's role is another. A server that takes the
    writes over from one that nobody hears from takes the clients over, too: the
    other's pod would keep its label until its node is given up."""
    if role != "primary":
        return
    values = configuration()["kubernetes"]
    label, primary, replica = values["role_label"], values["leader_label_value"], values["follower_label_value"]

    def take_over():
        if annotations("leader").get("leader") != POD:
            return
        for name in others(",%s=%s" % (label, primary)):
            ask(pod(name), {"metadata": {"labels": {label: replica}}})
    patiently(take_over)


def leave(seconds):
    """Hands the writes over to a server that stays, when this pod is one that
    goes for good: somebody has made the StatefulSet smaller. A pod that comes
    back only lets go: Patroni hands over when the server stops. When all go, the
    one that takes the writes goes last, or another one would take them."""
    until = time.monotonic() + float(seconds)
    me = number(POD)
    goal = ask("/apis/apps/v1/namespaces/%s/statefulsets/%s" % (ENV["NAMESPACE"], ENV["STATEFUL_SET"]))["spec"]["replicas"]
    if me < goal or annotations("leader").get("leader") != POD:
        return
    if goal == 0:
        while others() and time.monotonic() < until:
            time.sleep(0.3)
        return
    before = None
    while time.monotonic() < until:
        sync = annotations("sync")
        ready = sorted(
            (name for name in (sync.get("sync_standby") or "").split(",") if name and number(name) < goal), key=number)
        if annotations("leader").get("leader") != POD:
            break
        if ready:
            annotate("failover", leader=POD, member=ready[0])
        elif before is None:
            # None of those that stay has every write: let all have them.
            before = annotations("config")["config"]
            annotate("config", config=json.dumps(dict(json.loads(before), synchronous_node_count=goal + 8)))
        time.sleep(0.5)
    else:
        print("members: no server that stays has taken the writes over within %s s" % seconds)
    if before is not None:
        annotate("config", config=before)


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    commands = {
        "trusted": lambda: print(*patiently(trusted)), "primary": lambda: print(patiently(primary)),
        "leader": leader, "seed": seed, "config": config,
        "missing": missing, "changed": changed, "leave": leave,
        "password": password, "parameters": parameters, "catch_up": catch_up, "reload": reload,
    }
    try:
        commands[command](*arguments)
    except urllib.error.HTTPError as error:
        complain("the API server refuses %s: %s %s" % (error.url.split("/api", 1)[-1], error.code, error.reason))
    except subprocess.SubprocessError as error:
        complain(str(error))
    except OSError as error:
        complain("the API server cannot be reached: %s" % error)


def complain(text):
    """For start.sh, whose last line says why nothing was started."""
    with open(os.path.join(RUN, "members.error"), "w", encoding="utf-8") as file:
        file.write(text)
    sys.exit("members: " + text)


main()
