-- A file of schema 1 as version 0.1.0 left it when it was killed (a dump of a real one): what it holds stands in schema.int.test.ts.
CREATE TABLE channels (
  name TEXT PRIMARY KEY,
  ordered INTEGER NOT NULL CHECK (ordered IN (0, 1)),
  on_failure TEXT NOT NULL CHECK (on_failure IN ('skip', 'blockKey', 'sequencedDlq')),
  ephemeral INTEGER NOT NULL CHECK (ephemeral IN (0, 1))
) STRICT;
INSERT INTO "channels" VALUES('numbers',0,'skip',0);
INSERT INTO "channels" VALUES('keyed',1,'sequencedDlq',0);
CREATE TABLE cursors (
  subscription INTEGER NOT NULL,
  log INTEGER NOT NULL,
  next INTEGER NOT NULL,
  flying TEXT NOT NULL,
  PRIMARY KEY (subscription, log)
) STRICT, WITHOUT ROWID;
INSERT INTO "cursors" VALUES(1,1,1099511627782,'[[1099511627780,1099511627781]]');
INSERT INTO "cursors" VALUES(2,2,2199023255556,'');
CREATE TABLE dead_letters (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  subscription INTEGER NOT NULL,
  channel TEXT NOT NULL,
  subscription_name TEXT NOT NULL,
  message_id TEXT NOT NULL,
  origin INTEGER NOT NULL,
  in_lane INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  reason TEXT NOT NULL,
  failure_group TEXT NOT NULL,
  parked_at INTEGER NOT NULL,
  history TEXT NOT NULL,
  state TEXT,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "dead_letters" VALUES(1,'01a2247f-dea1-7a11-9348-f3bc918d2747',1,'numbers','one','01a2247f-de98-7f5b-ae7c-cf1ce066076f',1099511627778,0,1795908689562,NULL,NULL,'two is broken','deadLetter: two is broken',1795908689568,'[{"attempt":1,"at":"2026-11-28T23:31:29.568Z","kind":"deadLetter","reason":"two is broken"}]','{"attempts":0,"abandoned":0,"redrives":1,"redriveOf":"01a2247f-dea1-7a11-9348-f3bc918d2747","history":[{"attempt":1,"at":"2026-11-28T23:31:29.568Z","kind":"deadLetter","reason":"two is broken"},{"attempt":0,"at":"2026-11-28T23:31:29.568Z","kind":"redriven","reason":"redriven from dead letter 01a2247f-dea1-7a11-9348-f3bc918d2747"}]}','{"specversion":"1.0","id":"01a2247f-de98-7f5b-ae7c-cf1ce066076f","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":2}}');
INSERT INTO "dead_letters" VALUES(2,'01a2247f-deab-7e66-8174-00892b569014',2,'keyed','one','01a2247f-dea3-75ae-9bdf-b6770f9867c2',2199023255554,1,1795908689570,NULL,'a','two is broken','deadLetter: two is broken',1795908689577,'[{"attempt":1,"at":"2026-11-28T23:31:29.577Z","kind":"deadLetter","reason":"two is broken"}]','{"attempts":0,"abandoned":0,"redrives":1,"redriveOf":"01a2247f-deab-7e66-8174-00892b569014","history":[{"attempt":1,"at":"2026-11-28T23:31:29.577Z","kind":"deadLetter","reason":"two is broken"},{"attempt":0,"at":"2026-11-28T23:31:29.577Z","kind":"redriven","reason":"redriven from dead letter 01a2247f-deab-7e66-8174-00892b569014"}]}','{"specversion":"1.0","id":"01a2247f-dea3-75ae-9bdf-b6770f9867c2","type":"keyed","source":"/former","time":"2026-11-28T23:31:29.571Z","datacontenttype":"application/json","dataschema":"urn:channel:keyed:v1","partitionkey":"a","data":{"n":2}}');
INSERT INTO "dead_letters" VALUES(3,'2-2199023255555',2,'keyed','one','01a2247f-dea3-7e30-84ff-14f552d0ea85',2199023255555,1,1795908689570,NULL,'a','parked behind the dead letter at the head of its key','parked behind its key',1795908689577,'[]',NULL,'{"specversion":"1.0","id":"01a2247f-dea3-7e30-84ff-14f552d0ea85","type":"keyed","source":"/former","time":"2026-11-28T23:31:29.571Z","datacontenttype":"application/json","dataschema":"urn:channel:keyed:v1","partitionkey":"a","data":{"n":3}}');
CREATE TABLE deferred (
  number INTEGER PRIMARY KEY,
  subscription INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  due_at INTEGER,
  flying INTEGER NOT NULL,
  in_lane INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  state TEXT,
  abandoned INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "deferred" VALUES(3,1,1099511627779,1795908689580,0,0,1795908689562,NULL,NULL,'{"attempts":1,"abandoned":0,"redrives":0,"history":[{"attempt":1,"at":"2026-11-28T23:31:29.570Z","kind":"retry","reason":"the handler asked for a retry"}]}',0,'{"specversion":"1.0","id":"01a2247f-de98-7b45-8e87-96ea582a05bb","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":3}}');
CREATE TABLE logs (
  log INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  level INTEGER NOT NULL,
  UNIQUE (channel, level)
) STRICT;
INSERT INTO "logs" VALUES(1,'numbers',0);
INSERT INTO "logs" VALUES(2,'keyed',0);
CREATE TABLE messages (
  position INTEGER PRIMARY KEY,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "messages" VALUES(1099511627777,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-76d6-a3d8-2842f398fb0d","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":1}}');
INSERT INTO "messages" VALUES(1099511627778,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-7f5b-ae7c-cf1ce066076f","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":2}}');
INSERT INTO "messages" VALUES(1099511627779,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-7b45-8e87-96ea582a05bb","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":3}}');
INSERT INTO "messages" VALUES(1099511627780,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-7386-a987-64cb1fc0be6e","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":4}}');
INSERT INTO "messages" VALUES(1099511627781,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-7757-b97a-25f34f06f54c","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":5}}');
INSERT INTO "messages" VALUES(1099511627782,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de98-70fb-a3ec-bd491adba1ed","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.560Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":6}}');
INSERT INTO "messages" VALUES(1099511627783,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de9a-7eb7-8437-8f418b0f49aa","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.562Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":7}}');
INSERT INTO "messages" VALUES(1099511627784,1795908689562,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de9a-7253-a0b0-58c511087959","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.562Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":8}}');
INSERT INTO "messages" VALUES(2199023255553,1795908689570,NULL,'a','{"specversion":"1.0","id":"01a2247f-dea3-7718-88e8-356a67701afb","type":"keyed","source":"/former","time":"2026-11-28T23:31:29.571Z","datacontenttype":"application/json","dataschema":"urn:channel:keyed:v1","partitionkey":"a","data":{"n":1}}');
INSERT INTO "messages" VALUES(2199023255554,1795908689570,NULL,'a','{"specversion":"1.0","id":"01a2247f-dea3-75ae-9bdf-b6770f9867c2","type":"keyed","source":"/former","time":"2026-11-28T23:31:29.571Z","datacontenttype":"application/json","dataschema":"urn:channel:keyed:v1","partitionkey":"a","data":{"n":2}}');
INSERT INTO "messages" VALUES(2199023255555,1795908689570,NULL,'a','{"specversion":"1.0","id":"01a2247f-dea3-7e30-84ff-14f552d0ea85","type":"keyed","source":"/former","time":"2026-11-28T23:31:29.571Z","datacontenttype":"application/json","dataschema":"urn:channel:keyed:v1","partitionkey":"a","data":{"n":3}}');
CREATE TABLE scheduled (
  number INTEGER PRIMARY KEY,
  log INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "scheduled" VALUES(1,1,1795908690564,NULL,NULL,'{"specversion":"1.0","id":"01a2247f-de9d-748f-a2a6-d8f184eda233","type":"numbers","source":"/former","time":"2026-11-28T23:31:29.565Z","datacontenttype":"application/json","dataschema":"urn:channel:numbers:v1","data":{"n":9}}');
CREATE TABLE subscriptions (
  subscription INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  name TEXT NOT NULL,
  expired INTEGER NOT NULL DEFAULT 0,
  UNIQUE (channel, name)
) STRICT;
INSERT INTO "subscriptions" VALUES(1,'numbers','one',0);
INSERT INTO "subscriptions" VALUES(2,'keyed','one',0);
CREATE INDEX scheduled_by_due ON scheduled (due_at);
CREATE INDEX deferred_by_due ON deferred (subscription, due_at, origin) WHERE due_at IS NOT NULL;
CREATE INDEX deferred_by_key ON deferred (subscription, key, origin) WHERE in_lane = 1;
CREATE INDEX dead_letters_by_group ON dead_letters (subscription, failure_group);
CREATE INDEX dead_letters_by_key ON dead_letters (subscription, key, origin) WHERE in_lane = 1;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('logs',2);
INSERT INTO "sqlite_sequence" VALUES('subscriptions',2);
INSERT INTO "sqlite_sequence" VALUES('dead_letters',3);
PRAGMA user_version = 1;
