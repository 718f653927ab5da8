-- The arithmetic of limits and budgets, in the words of `meters.py`: the two are held to the same answers by the tests.
--
-- A number here is a double: whole numbers are exact up to 2^53. Times are microseconds since 1970 (2^51). What would be
-- larger, the units times microseconds of a bucket, is kept as two numbers: whole units, and `part` of one.

local SECOND = 1000000
local SLOTS = 60
local LATE = 3600 * SECOND
local SKEW = 60 * SECOND
local PATIENCE = SECOND
local DAY = 86400 * SECOND
local EXACT = 2 ^ 53

-- Rounded down, and the rest. Exact, which math.floor(a / b) is not close to 2^53.
local function divide(a, b)
  local rest = math.fmod(a, b)
  if rest < 0 then rest = rest + b end
  return (a - rest) / b, rest
end

-- a * b / c rounded down, and the rest, digit by digit where the product is not exact.
local function multiply_divide(a, b, c)
  local whole, fraction = divide(b, c)
  local base, scale = 1024, 1
  while base > 2 and 2 * base * c > EXACT do base = base / 2 end
  while scale * base <= a do scale = scale * base end
  local result, rest, left = 0, 0, a
  while scale >= 1 do
    local digit, more
    digit, left = divide(left, scale)
    more, rest = divide(rest * base + digit * fraction, c)
    result = result * base + more
    scale = scale / base
  end
  return result + a * whole, rest
end

-- (units * width + part) / limit, rounded up.
local function time_to_drain(units, part, width, limit)
  local whole, rest = multiply_divide(units, width, limit)
  return whole + math.ceil((rest + part) / limit)
end

local function days_from_civil(year, month)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month > 2 and month - 3 or month + 9) + 2) / 5)
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

-- The year and month of a day since 1970, by Howard Hinnant's `civil_from_days`.
local function civil_from_days(days)
  days = days + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor(
    (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365
  )
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400
  return month <= 2 and year + 1 or year, month
end

local function bounds(period, now)
  if period == 'month' then
    local year, month = civil_from_days((divide(now, DAY)))
    local next_year, next_month = year, month + 1
    if next_month > 12 then next_year, next_month = year + 1, 1 end
    return days_from_civil(year, month) * DAY, days_from_civil(next_year, next_month) * DAY
  end
  if period == 'week' then -- 1970 began on a Thursday
    local _, into = divide(now + 3 * DAY, 7 * DAY)
    return now - into, now - into + 7 * DAY
  end
  local width = period == 'hour' and 3600 * SECOND or period == 'day' and DAY or period * SECOND
  local _, into = divide(now, width)
  return now - into, now - into + width
end

local function new_state(idle)
  return { spent = 0, part = 0, held = 0, since = 0, ends = 0, next_lapse = 0, idle = idle, log = {}, holds = {} }
end

local function pack_state(s)
  return cmsgpack.pack({ s.spent, s.part, s.held, s.since, s.ends, s.next_lapse, s.idle, s.log, s.holds })
end

local function unpack_state(packed)
  local t = cmsgpack.unpack(packed)
  return {
    spent = t[1], part = t[2], held = t[3], since = t[4], ends = t[5],
    next_lapse = t[6], idle = t[7], log = t[8], holds = t[9],
  }
end

local function counts(s, m, hold)
  return m.kind ~= 'allowance' or hold.period == s.since
end

local function used(s)
  return s.spent + (s.part > 0 and 1 or 0)
end

local function room(s, m)
  return m.limit - s.held - used(s)
end

local function sixtieth(time, width)
  local whole, rest = divide(time, width)
  return whole * SLOTS + (divide(rest * SLOTS, width))
end

local function drains(s, m)
  return time_to_drain(s.spent + s.held, s.part, m.width, math.max(m.limit, 1)) + LATE
end

local function charge(s, m, amount, now)
  if amount == 0 then return end
  if m.kind == 'window' then
    local last = s.log[#s.log]
    local when = last and math.max(now, last[1]) or now
    if m.limit > SLOTS and last and sixtieth(last[1], m.width) == sixtieth(when, m.width) then
      s.log[#s.log] = { when, last[2] + amount }
    else
      s.log[#s.log + 1] = { when, amount }
    end
    s.spent = s.spent + amount
    s.idle = math.max(s.idle, when + m.width)
  elseif m.kind == 'bucket' then
    s.spent = s.spent + amount
    s.idle = math.max(s.idle, now + drains(s, m))
  elseif m.kind == 'allowance' then
    s.spent = s.spent + amount
    s.idle = math.max(s.idle, s.ends)
  end
end

local function slide(s, width, now)
  local log = s.log
  if #log > 0 and log[#log][1] > now + SKEW then
    for _, entry in ipairs(log) do entry[1] = math.min(entry[1], now) end
  end
  local past = 0
  while past < #log and log[past + 1][1] <= now - width do
    past = past + 1
    s.spent = s.spent - log[past][2]
  end
  if past > 0 then
    local kept = {}
    for index = past + 1, #log do kept[#kept + 1] = log[index] end
    s.log = kept
  end
end

local function drain(s, m, now)
  if s.since > now + SKEW then s.since = now end
  if now <= s.since then return end
  local units, part = multiply_divide(m.limit, now - s.since, m.width)
  s.spent, s.part = s.spent - units, s.part - part
  if s.part < 0 then s.spent, s.part = s.spent - 1, s.part + m.width end
  if s.spent < 0 then s.spent, s.part = 0, 0 end
  s.since = now
end

local function turn_period(s, m, now)
  if now >= s.ends then
    s.since, s.ends = bounds(m.width, now)
    s.spent, s.held = 0, 0
  elseif s.since > now + SKEW then
    local start, finish = bounds(m.width, now)
    for _, hold in pairs(s.holds) do hold.period = hold.period == s.since and start or 0 end
    s.since, s.ends = start, finish
  end
end

local function lapse(s, m, now)
  local following = 0
  for id, hold in pairs(s.holds) do
    if not hold.lapsed and hold.till <= now then
      hold.lapsed = true
      if counts(s, m, hold) then
        s.held = s.held - hold.amount
        if hold.spend then charge(s, m, hold.amount, now) end
      end
    end
    if hold.lapsed and hold.till + LATE <= now then
      s.holds[id] = nil
    else
      local change = hold.lapsed and hold.till + LATE or hold.till
      following = following == 0 and change or math.min(following, change)
    end
  end
  s.next_lapse = following
end

local function pass(s, m, now)
  if m.kind == 'window' then
    slide(s, m.width, now)
  elseif m.kind == 'bucket' then
    drain(s, m, now)
  elseif m.kind == 'allowance' then
    turn_period(s, m, now)
  end
end

local function bring(s, m, now)
  while s.next_lapse ~= 0 and s.next_lapse <= now do
    local when = s.next_lapse
    pass(s, m, when)
    lapse(s, m, when)
  end
  pass(s, m, now)
end

local function will_lapse(s, m, held)
  s.next_lapse = s.next_lapse == 0 and held.till or math.min(s.next_lapse, held.till)
  s.idle = math.max(s.idle, held.till + LATE)
  if not held.spend then return end
  if m.kind == 'window' then
    s.idle = math.max(s.idle, held.till + m.width)
  elseif m.kind == 'bucket' then
    s.idle = math.max(s.idle, held.till + drains(s, m))
  elseif m.kind == 'allowance' then
    s.idle = math.max(s.idle, s.ends)
  end
end

local function is_held(s, id)
  local hold = s.holds[id]
  return hold ~= nil and not hold.lapsed
end

local function hold(s, m, id, amount, lease, spend, now)
  if is_held(s, id) then
    s.holds[id].till = now + lease
  else
    local period = m.kind == 'allowance' and s.since or 0
    s.holds[id] = { amount = amount, till = now + lease, period = period, spend = spend, lapsed = false }
    s.held = s.held + amount
  end
  will_lapse(s, m, s.holds[id])
end

local function renew(s, m, id, lease, now)
  if not is_held(s, id) then return 0 end
  s.holds[id].till = now + lease
  will_lapse(s, m, s.holds[id])
  return 1
end

-- Whether there was such a hold, and by how much the use exceeded it.
local function settle(s, m, id, amount, now)
  local held = s.holds[id]
  if not held then return 0, 0 end
  s.holds[id] = nil
  local of_this_period = counts(s, m, held)
  local beyond = math.max(0, amount - held.amount)
  if held.lapsed and held.spend then
    amount = beyond
  elseif not held.lapsed and of_this_period then
    s.held = s.held - held.amount
  end
  if of_this_period then charge(s, m, amount, now) end
  return 1, beyond
end

local function release(s, m, id)
  local held = s.holds[id]
  s.holds[id] = nil
  if not held or held.lapsed then return 0 end
  if counts(s, m, held) then s.held = s.held - held.amount end
  return 1
end

-- Remaining, reserved, microseconds until all is free.
local function standing(s, m, now)
  local reset = 0
  if m.kind == 'window' and #s.log > 0 then
    reset = s.log[#s.log][1] + m.width - now
  elseif m.kind == 'bucket' and m.limit > 0 then
    reset = time_to_drain(s.spent, s.part, m.width, m.limit)
  elseif m.kind == 'allowance' then
    reset = s.ends - now
  end
  return { math.max(0, room(s, m)), s.held, math.max(0, reset) }
end

-- Microseconds until an amount would fit if others' reservations stayed as they are; -1 if it never can.
local function wait(s, m, amount, now)
  if amount > m.limit then return -1 end
  if m.kind == 'window' then
    local missing = amount - room(s, m)
    for _, entry in ipairs(s.log) do
      missing = missing - entry[2]
      if missing <= 0 then return math.max(0, entry[1] + m.width - now) end
    end
  elseif m.kind == 'bucket' then
    local free = m.limit - s.held - amount
    if free >= 0 then return time_to_drain(s.spent - free, s.part, m.width, math.max(m.limit, 1)) end
  elseif m.kind == 'allowance' and amount > m.limit - s.spent then
    return s.ends - now
  end
  return PATIENCE
end
