-- An ERP as such grew: several schemas, capitals, spaces, dots, a reserved word, composite keys by client,
-- an aggregate three levels deep, history tables, an unlogged cache, inheritance, row-level security.
CREATE SCHEMA "Sales";
CREATE SCHEMA "Finance";
CREATE SCHEMA master;
CREATE SCHEMA "Lager.Nord";

CREATE TABLE master."Clients" ("ClientId" integer PRIMARY KEY, "Name" varchar(80) NOT NULL);
CREATE TABLE master."Currencies" ("Code" char(3) PRIMARY KEY, "Name" varchar(40) NOT NULL, "Decimals" smallint NOT NULL DEFAULT 2);
CREATE TABLE master."Countries" ("Iso2" char(2) PRIMARY KEY, "Name" varchar(80) NOT NULL);
CREATE TABLE master."Customers" (
  "ClientId" integer NOT NULL REFERENCES master."Clients", "CustomerNo" integer NOT NULL,
  "CompanyName" varchar(120) NOT NULL, "VatId" varchar(20), "Iban" varchar(34), "ContactEmail" varchar(120), "Country" char(2) REFERENCES master."Countries",
  "CreditLimit" numeric(14,2) NOT NULL DEFAULT 0, "IsDeleted" boolean NOT NULL DEFAULT false,
  "CreatedOn" timestamp NOT NULL DEFAULT now(), "ChangedOn" timestamp NOT NULL DEFAULT now(), "RowVersion" integer NOT NULL DEFAULT 1,
  PRIMARY KEY ("ClientId", "CustomerNo"));
CREATE TABLE master."Items" ("ClientId" integer NOT NULL REFERENCES master."Clients", "ItemNo" varchar(30) NOT NULL, "Description" text, "ListPrice" numeric(14,4), PRIMARY KEY ("ClientId", "ItemNo"));

-- Header, position, schedule line: the schedule lines carry the whole key of the header.
CREATE TABLE "Sales"."Order" (
  "ClientId" integer NOT NULL, "OrderNo" integer NOT NULL, "CustomerNo" integer NOT NULL, "Status" varchar(12) NOT NULL DEFAULT 'OPEN'
    CHECK ("Status" IN ('OPEN', 'RELEASED', 'DELIVERED', 'INVOICED', 'CANCELLED')),
  "OrderDate" date NOT NULL, "NetAmount" numeric(14,2) NOT NULL DEFAULT 0, "Currency" char(3) NOT NULL REFERENCES master."Currencies",
  "ChangedOn" timestamp NOT NULL DEFAULT now(), "ChangedBy" varchar(30),
  PRIMARY KEY ("ClientId", "OrderNo"), FOREIGN KEY ("ClientId", "CustomerNo") REFERENCES master."Customers");
CREATE TABLE "Sales"."Order Position" (
  "ClientId" integer NOT NULL, "OrderNo" integer NOT NULL, "Pos" smallint NOT NULL, "ItemNo" varchar(30) NOT NULL, "Qty" numeric(12,3) NOT NULL, "Price" numeric(14,4) NOT NULL,
  PRIMARY KEY ("ClientId", "OrderNo", "Pos"), FOREIGN KEY ("ClientId", "OrderNo") REFERENCES "Sales"."Order" ON DELETE CASCADE,
  FOREIGN KEY ("ClientId", "ItemNo") REFERENCES master."Items");
CREATE TABLE "Sales"."Order Position Schedule" (
  "ClientId" integer NOT NULL, "OrderNo" integer NOT NULL, "Pos" smallint NOT NULL, "Line" smallint NOT NULL, "DueDate" date NOT NULL, "Qty" numeric(12,3) NOT NULL,
  PRIMARY KEY ("ClientId", "OrderNo", "Pos", "Line"), FOREIGN KEY ("ClientId", "OrderNo", "Pos") REFERENCES "Sales"."Order Position" ON DELETE CASCADE);
CREATE TABLE "Sales"."Order_History" (
  "HistId" bigserial PRIMARY KEY, "Action" char(1) NOT NULL, "ChangedAt" timestamp NOT NULL DEFAULT now(), "ChangedBy" varchar(30),
  "ClientId" integer NOT NULL, "OrderNo" integer NOT NULL, "CustomerNo" integer, "Status" varchar(12), "OrderDate" date, "NetAmount" numeric(14,2), "Currency" char(3));

-- Invoice, line, tax: the tax lines know only their line by a number of its own.
CREATE TABLE "Finance"."Invoices" ("InvoiceId" bigserial PRIMARY KEY, "ClientId" integer NOT NULL, "CustomerNo" integer NOT NULL, "State" smallint NOT NULL DEFAULT 0, "GrossAmount" numeric(14,2) NOT NULL, "PaidOn" timestamp, "CreatedOn" timestamp NOT NULL DEFAULT now(),
  FOREIGN KEY ("ClientId", "CustomerNo") REFERENCES master."Customers");
CREATE TABLE "Finance"."InvoiceLines" ("LineId" bigserial PRIMARY KEY, "InvoiceId" bigint NOT NULL REFERENCES "Finance"."Invoices" ON DELETE CASCADE, "Text" text, "Amount" numeric(14,2) NOT NULL);
CREATE TABLE "Finance"."InvoiceLineTaxes" ("TaxId" bigserial PRIMARY KEY, "LineId" bigint NOT NULL REFERENCES "Finance"."InvoiceLines" ON DELETE CASCADE, "Rate" numeric(5,2) NOT NULL, "Amount" numeric(14,2) NOT NULL);
-- A general ledger: only ever added to.
CREATE TABLE "Finance"."LedgerEntries" ("EntryId" bigserial PRIMARY KEY, "Account" varchar(10) NOT NULL, "Debit" numeric(14,2) NOT NULL DEFAULT 0, "Credit" numeric(14,2) NOT NULL DEFAULT 0, "BookedOn" date NOT NULL, "InvoiceId" bigint REFERENCES "Finance"."Invoices");
-- Grew without a key; a unique index came later.
CREATE TABLE "Finance"."ExchangeRates" ("Currency" char(3) NOT NULL, "ValidFrom" date NOT NULL, "Rate" numeric(18,8) NOT NULL);
CREATE UNIQUE INDEX "UX_ExchangeRates" ON "Finance"."ExchangeRates" ("Currency", "ValidFrom");
-- Grew without any key, and is updated.
CREATE TABLE "Finance"."Dunning" ("CustomerNo" integer NOT NULL, "Level" smallint NOT NULL, "Status" text NOT NULL, "Fee" numeric(8,2), "SentOn" date);
-- An address belongs to a customer or to a supplier.
CREATE TABLE master."Suppliers" ("SupplierNo" integer PRIMARY KEY, "CompanyName" varchar(120) NOT NULL, "Blocked" boolean NOT NULL DEFAULT false);
CREATE TABLE master."Warehouses" ("WarehouseNo" integer PRIMARY KEY, "Name" varchar(40));
CREATE TABLE master."Contacts" ("ContactId" serial PRIMARY KEY, "SupplierNo" integer REFERENCES master."Suppliers" ON DELETE CASCADE, "WarehouseNo" integer REFERENCES master."Warehouses" ON DELETE CASCADE, "Phone" text, "LastName" text);
-- A tree, and two tables that refer to each other.
CREATE TABLE master."CostCentres" ("Id" serial PRIMARY KEY, "ParentId" integer REFERENCES master."CostCentres", "Name" text NOT NULL);
CREATE TABLE "Lager.Nord"."Bin.Locations" ("Id" serial PRIMARY KEY, "Code" text NOT NULL, "CurrentPalletId" integer);
CREATE TABLE "Lager.Nord"."Pallets" ("Id" serial PRIMARY KEY, "BinId" integer REFERENCES "Lager.Nord"."Bin.Locations", "State" text NOT NULL DEFAULT 'empty', "WeightKg" double precision);
ALTER TABLE "Lager.Nord"."Bin.Locations" ADD FOREIGN KEY ("CurrentPalletId") REFERENCES "Lager.Nord"."Pallets";
CREATE UNLOGGED TABLE "Lager.Nord"."PickCache" ("Key" text PRIMARY KEY, "Value" jsonb);
CREATE TABLE "Lager.Nord".movements (id bigserial PRIMARY KEY, pallet_id integer, moved_at timestamptz NOT NULL DEFAULT now(), total numeric GENERATED ALWAYS AS (1 + 1) STORED);
CREATE TABLE "Lager.Nord".movements_archive () INHERITS ("Lager.Nord".movements);
CREATE TABLE master."user" (id serial PRIMARY KEY, login text NOT NULL, "passwordHash" text, "lastLogin" timestamptz);
ALTER TABLE master."user" ENABLE ROW LEVEL SECURITY;

INSERT INTO master."Clients" VALUES (1, 'North'), (2, 'South');
INSERT INTO master."Currencies" VALUES ('EUR', 'Euro'), ('USD', 'Dollar'), ('CHF', 'Franc');
INSERT INTO master."Countries" SELECT chr(65 + n / 26) || chr(65 + n % 26), 'Country ' || n FROM generate_series(0, 200) n;
INSERT INTO master."Customers" ("ClientId", "CustomerNo", "CompanyName", "Country") SELECT 1 + n % 2, n, 'Company ' || n, 'AB' FROM generate_series(1, 2000) n;
INSERT INTO master."Items" SELECT 1 + n % 2, 'IT' || n, 'Item ' || n, n FROM generate_series(1, 1000) n;
INSERT INTO "Sales"."Order" SELECT 1 + n % 2, n, 1 + (n % 1000) * 2 - n % 2 + (n % 2), (ARRAY['OPEN','RELEASED','DELIVERED','INVOICED','CANCELLED'])[1 + n % 5], date '2026-01-01' + n % 300, n, 'EUR'
  FROM generate_series(1, 5000) n WHERE EXISTS (SELECT FROM master."Customers" c WHERE c."ClientId" = 1 + n % 2 AND c."CustomerNo" = 1 + (n % 1000) * 2 - n % 2 + (n % 2));
INSERT INTO "Sales"."Order Position" SELECT "ClientId", "OrderNo", p, 'IT' || (2 * (1 + ("OrderNo" + p) % 400) + "ClientId" - 1), p, 9.99 FROM "Sales"."Order", generate_series(1, 3) p
  WHERE EXISTS (SELECT FROM master."Items" i WHERE i."ClientId" = "Order"."ClientId" AND i."ItemNo" = 'IT' || (2 * (1 + ("OrderNo" + p) % 400) + "Order"."ClientId" - 1));
INSERT INTO "Sales"."Order Position Schedule" SELECT "ClientId", "OrderNo", "Pos", 1, date '2026-02-01', "Qty" FROM "Sales"."Order Position";
INSERT INTO "Sales"."Order_History" ("Action", "ClientId", "OrderNo", "Status") SELECT 'U', "ClientId", "OrderNo", 'OPEN' FROM "Sales"."Order", generate_series(1, 2);
INSERT INTO "Finance"."Invoices" ("ClientId", "CustomerNo", "State", "GrossAmount") SELECT "ClientId", "CustomerNo", "CustomerNo" % 4, 100 FROM master."Customers";
INSERT INTO "Finance"."InvoiceLines" ("InvoiceId", "Text", "Amount") SELECT "InvoiceId", 'Service', 10 FROM "Finance"."Invoices", generate_series(1, 2);
INSERT INTO "Finance"."InvoiceLineTaxes" ("LineId", "Rate", "Amount") SELECT "LineId", 19, 1.9 FROM "Finance"."InvoiceLines";
INSERT INTO "Finance"."LedgerEntries" ("Account", "Debit", "BookedOn", "InvoiceId") SELECT '4000', 10, date '2026-01-01', "InvoiceId" FROM "Finance"."Invoices", generate_series(1, 2);
INSERT INTO "Finance"."ExchangeRates" SELECT c, date '2026-01-01' + n, 1.1 FROM generate_series(1, 300) n, unnest(ARRAY['USD','CHF']) c;
INSERT INTO "Finance"."Dunning" SELECT n, 1 + n % 3, (ARRAY['new','sent','paid'])[1 + n % 3], 5, date '2026-01-01' FROM generate_series(1, 300) n;
INSERT INTO "Lager.Nord"."Bin.Locations" ("Code") SELECT 'B' || n FROM generate_series(1, 500) n;
INSERT INTO "Lager.Nord"."Pallets" ("BinId", "State") SELECT n, (ARRAY['empty','loaded','moving'])[1 + n % 3] FROM generate_series(1, 500) n;
ANALYZE;
